'use strict';
// Adds the comment to whatever client.query() and pool.query() accept: a text, a configuration, or an object that submits
// itself, such as a cursor. The application's own objects are never changed, except that of a cursor, which has no copy.

const { appendComment, encode } = require('./comment.js');
const { currentPairs } = require('./tags.js');

const kOrigin = Symbol('pgleak origin');
const kMaxNames = 5000;

// Whether pool.query() has already found out where it comes from.
function hasOrigin(query) {
  return query !== null && typeof query === 'object' && query[kOrigin] !== undefined;
}

// Where a statement comes from: { code, pairs }, both encoded, '' for what is not known.
function originOf(site) {
  if (site !== undefined && site.pair === undefined) site.pair = `code='${encode(site.code)}'`;
  return { code: site?.pair ?? '', pairs: currentPairs() };
}

function allPairs(origin) {
  if (origin.code === '' || origin.pairs === '') return origin.code + origin.pairs;
  return `${origin.code},${origin.pairs}`;
}

// A copy that has another text, whether the original is a plain object or one with getters, and even if it is frozen.
function withText(query, text) {
  const prototype = Object.getPrototypeOf(query);
  if (prototype === Object.prototype || prototype === null) return { ...query, text };
  return Object.create(query, { text: { value: text, writable: true, enumerable: true, configurable: true } });
}

// Named statements are parsed once in each connection, and node-pg refuses another text under the same name. So the text
// is the same for the life of the connection. It names the place of the first use, as long as that is the only one; a
// statement that several places use has no comment in connections that come later. Tags of a request would be those of
// the first request.
class NamedStatements {
  constructor() {
    this.byName = new Map(); // name and text -> { code, isShared }
    this.sent = new WeakMap(); // client -> name -> { text, tagged }
  }

  textFor(client, name, text, code) {
    let sent = this.sent.get(client);
    if (sent === undefined) this.sent.set(client, (sent = new Map()));
    const earlier = sent.get(name);
    // With another text the driver has its own error to raise.
    if (earlier !== undefined) return earlier.text === text ? earlier.tagged : text;

    const key = `${name}\n${text}`;
    let statement = this.byName.get(key);
    if (statement === undefined) {
      if (this.byName.size >= kMaxNames) return text;
      this.byName.set(key, (statement = { code, isShared: false }));
    }
    statement.isShared ||= statement.code !== code;
    const tagged = statement.isShared ? text : appendComment(text, code);
    sent.set(name, { text, tagged });
    return tagged;
  }
}

// What client.query() shall send instead of `query`, which `site` has sent, if that is known.
function tagForClient(query, client, named, site) {
  if (typeof query === 'string') return query === '' ? query : appendComment(query, allPairs(originOf(site)));
  if (query === null || typeof query !== 'object') return query;
  if (typeof query.submit === 'function') return tagSubmittable(query, client, site);
  if (typeof query.text !== 'string') return query;
  const origin = query[kOrigin] ?? originOf(site);
  if (!query.name) return withText(query, appendComment(query.text, allPairs(origin)));
  return withText(query, named.textFor(client, query.name, query.text, origin.code));
}

// pg.Query, pg-cursor and pg-copy-streams have a text; pg-query-stream has a cursor that has one.
function tagSubmittable(query, client, site) {
  const target = query.cursor ?? query;
  if (!Object.hasOwn(target, 'text') || typeof target.text !== 'string' || target.name) return query;
  target.text = appendComment(target.text, allPairs(originOf(site)));
  return query;
}

// What pool.query() shall hand on. The pool may run it later, in the context of whoever releases a client, so the origin
// goes with it.
function tagForPool(query, site) {
  if (typeof query === 'string') return query === '' ? query : { text: query, [kOrigin]: originOf(site) };
  if (query === null || typeof query !== 'object' || typeof query.submit === 'function' || typeof query.text !== 'string')
    return query;
  const copy = withText(query, query.text);
  copy[kOrigin] = originOf(site);
  return copy;
}

module.exports = { NamedStatements, hasOrigin, tagForClient, tagForPool };
