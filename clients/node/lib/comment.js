'use strict';
// sqlcommenter: key='value' pairs in a comment at the end of the statement, keys and values percent-encoded.
// https://google.github.io/sqlcommenter/spec/

const kMaxValue = 255; // characters
const kMaxLength = 1000; // of all pairs

// encodeURIComponent() refuses half of a surrogate pair and leaves !'()* as they are. A value can therefore neither end the
// string nor the comment.
function encode(text) {
  let value = String(text);
  if (value.length > kMaxValue) value = value.slice(0, kMaxValue);
  return encodeURIComponent(value.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd'))
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

// "key='value',key2='value2'", without keys that have no value and those that would make it too long; the route comes first.
function encodePairs(pairs) {
  let result = '';
  const rank = (key) => (key === 'route' ? '' : key);
  for (const key of Object.keys(pairs).sort((a, b) => (rank(a) < rank(b) ? -1 : 1))) {
    const value = pairs[key];
    if (value === undefined || value === null || value === '' || typeof value === 'function' || typeof value === 'symbol') continue;
    const pair = `${encode(key)}='${encode(value)}'`;
    if (key === '' || result.length + pair.length > kMaxLength) continue;
    result += result === '' ? pair : `,${pair}`;
  }
  return result;
}

// A comment on the same line would be part of a line comment, such as "SELECT 1 -- one".
function appendComment(text, pairs) {
  if (pairs === '' || text === '') return text;
  const line = Math.max(text.lastIndexOf('\n'), text.lastIndexOf('\r')) + 1;
  return `${text}${text.indexOf('--', line) < 0 ? ' ' : '\n'}/*${pairs}*/`;
}

module.exports = { appendComment, encode, encodePairs };
