#include "core/tags.hpp"

#include <cstring>

#include "core/sql_lexer.hpp"
#include "core/text.hpp"

namespace pgleak {

namespace {

using Byte = unsigned char;

void skip_spaces(Span* text) {
  while (!text->is_empty() && is_space(*text->at)) text->at++;
}

// --- one tag ---

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Takes the next byte from `text`, decoded as sqlcommenter encodes it.
char next_decoded(Span* text, bool* is_decoded) {
  *is_decoded = false;
  if (text->starts_with('\\', '\'')) text->at++;
  if (text->starts_with('%') && text->end - text->at >= 3) {
    const int high = hex_value(text->at[1]);
    const int low = hex_value(text->at[2]);
    if (high >= 0 && low >= 0 && high + low > 0) {
      text->at += 3;
      *is_decoded = true;
      return static_cast<char>(high * 16 + low);
    }
  }
  return *text->at++;
}

// Copies `text`, decoded unless it is literal, into a buffer of `size` bytes. False if it did not fit.
bool copy_text(Span text, bool is_literal, char* buffer, std::size_t size, bool* has_decoded_bytes) {
  std::size_t length = 0;
  while (!text.is_empty() && length < size - 1) {
    bool is_decoded = false;
    const char byte = is_literal ? *text.at++ : next_decoded(&text, &is_decoded);
    if (is_decoded && is_beyond_ascii(byte)) *has_decoded_bytes = true;
    buffer[length++] = byte;
  }
  buffer[length] = '\0';
  return text.is_empty();
}

void add_tag(Tags* tags, Span key, Span value, bool is_literal) {
  Tag spare;
  // cppcheck-suppress uninitvar ; its address only
  Tag* const tag = tags->count < kMaxTags ? &tags->tags[tags->count] : &spare;
  tag->has_decoded_bytes = false;
  if (!copy_text(key, is_literal, tag->key, kTagKeySize, &tag->has_decoded_bytes)) {
    tags->is_truncated = true;
    return;
  }
  if (find_tag(*tags, tag->key) != nullptr) return;
  if (tag == &spare) {
    tags->is_truncated = true;
    return;
  }
  if (!copy_text(value, is_literal, tag->value, kTagValueSize, &tag->has_decoded_bytes))
    tags->is_truncated = true;
  tags->count++;
}

// --- sqlcommenter ---

bool is_key_byte(char c) {
  return static_cast<Byte>(c) > ' ' && c != '\x7F' && std::strchr(",:='\"\\;", c) == nullptr;
}

Span take_encoded_key(Span* text) {
  Span key = *text;
  while (!text->is_empty()) {
    if (text->starts_with('\\', '\''))
      text->at += 2;
    else if (is_key_byte(*text->at))
      text->at++;
    else
      break;
  }
  key.end = text->at;
  return key;
}

// Takes a value up to its closing quote, which stays.
Span take_encoded_value(Span* text) {
  Span value = *text;
  while (!text->is_empty() && *text->at != '\'') text->at += text->starts_with('\\', '\'') ? 2 : 1;
  value.end = text->at;
  return value;
}

// An escape sequence cut in the middle is not text.
Span without_half_escape(Span value) {
  const std::ptrdiff_t length = value.end - value.at;
  if (length >= 1 && (value.end[-1] == '%' || value.end[-1] == '\\'))
    value.end--;
  else if (length >= 2 && value.end[-2] == '%' && hex_value(value.end[-1]) >= 0)
    value.end -= 2;
  return value;
}

// Each reader returns false if the comment is in another format; it may have left tags then.
bool read_sqlcommenter(Span text, bool is_cut, Tags* tags) {
  skip_spaces(&text);
  if (text.starts_with('+')) return false;
  for (;;) {
    const Span key = take_encoded_key(&text);
    if (text.is_empty()) return is_cut;
    if (key.is_empty() || *text.at++ != '=') return false;
    if (text.is_empty()) return is_cut;
    if (*text.at++ != '\'') return false;

    const Span value = take_encoded_value(&text);
    if (text.is_empty()) {
      const Span rest = without_half_escape(value);
      if (is_cut && !rest.is_empty()) add_tag(tags, key, rest, false);
      return is_cut;
    }
    add_tag(tags, key, value, false);
    text.at++;
    skip_spaces(&text);
    if (text.is_empty()) return true;
    if (*text.at++ != ',') return false;
    skip_spaces(&text);
  }
}

// --- marginalia ---

bool is_plain_key_byte(char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '-'; }

// Takes `key:` if a value follows.
bool take_plain_key(Span* text, Span* key) {
  Span rest = *text;
  if (rest.is_empty() || !is_letter(*rest.at)) return false;
  while (!rest.is_empty() && is_plain_key_byte(*rest.at)) rest.at++;
  *key = Span{text->at, rest.at};
  if (!rest.starts_with(':')) return false;
  rest.at++;
  if (rest.is_empty() || is_space(*rest.at)) return false;
  if (rest.starts_with(':') || rest.starts_with('/', '/')) return false;
  *text = rest;
  return true;
}

// True if `text` is the start of a key and nothing else, as after a cut.
bool is_half_key(Span text) {
  skip_spaces(&text);
  if (!text.is_empty() && !is_letter(*text.at)) return false;
  while (!text.is_empty() && is_plain_key_byte(*text.at)) text.at++;
  if (text.starts_with(':')) text.at++;
  return text.is_empty();
}

// Takes a value up to the comma before the next key, which stays, or to the end.
Span take_plain_value(Span* text, bool is_cut) {
  Span value = *text;
  for (; !text->is_empty(); text->at++) {
    if (*text->at != ',') continue;
    Span next{text->at + 1, text->end};
    Span key{};
    skip_spaces(&next);
    if (take_plain_key(&next, &key)) break;
    if (is_cut && is_half_key(Span{text->at + 1, text->end})) {
      value.end = text->at;
      text->at = text->end;
      return value;
    }
  }
  value.end = text->at;
  while (value.end > value.at && is_space(value.end[-1])) value.end--;
  return value;
}

bool read_marginalia(Span text, bool is_cut, Tags* tags) {
  skip_spaces(&text);
  while (!text.is_empty()) {
    Span key{};
    if (!take_plain_key(&text, &key)) return false;
    const Span value = take_plain_value(&text, is_cut);
    if (!value.is_empty()) add_tag(tags, key, value, true);
    if (text.is_empty()) return true;
    text.at++;
    skip_spaces(&text);
  }
  return false;
}

// --- the statement ---

void read_comment(Span inside, bool is_cut, Tags* tags) {
  // Half of the comment's end marker.
  if (is_cut && !inside.is_empty() && inside.end[-1] == '*') inside.end--;

  const int count = tags->count;
  const bool is_truncated = tags->is_truncated;
  if (read_sqlcommenter(inside, is_cut, tags)) return;
  tags->count = count;
  tags->is_truncated = is_truncated;
  if (read_marginalia(inside, is_cut, tags)) return;
  tags->count = count;
  tags->is_truncated = is_truncated;
}

}  // namespace

void read_tags(const char* statement, std::size_t length, bool is_cut, Tags* tags) {
  tags->count = 0;
  tags->is_truncated = false;
  const void* const nul = std::memchr(statement, '\0', length);
  Span text{statement, nul != nullptr ? static_cast<const char*>(nul) : statement + length};

  // To the server, a comment without an end is an error, unless the statement was truncated.
  bool has_comment = false;
  const auto read = [tags, is_cut, &has_comment](Span inside, bool is_whole) {
    has_comment = true;
    if (is_whole || is_cut) read_comment(inside, !is_whole, tags);
  };
  skip_blank(&text, read);
  const bool has_token = !text.is_empty();
  const int count_before = tags->count;

  Span rest = text;
  while (!text.is_empty()) {
    skip_token(&text);
    rest = text;
    skip_blank(&text, [](Span, bool) {});
  }
  has_comment = false;
  skip_blank(&rest, read);
  if (is_cut && (!has_token || has_comment || count_before == 0)) tags->is_truncated = true;
}

const Tag* find_tag(const Tags& tags, const char* key) {
  for (int i = 0; i < tags.count; i++)
    if (std::strcmp(tags.tags[i].key, key) == 0) return &tags.tags[i];
  return nullptr;
}

RouteTags find_route(const Tags& tags) {
  if (const Tag* const route = find_tag(tags, "route")) return RouteTags{route, nullptr};
  const Tag* const controller = find_tag(tags, "controller");
  return RouteTags{controller, controller == nullptr ? nullptr : find_tag(tags, "action")};
}

bool write_route(const Tags& tags, char (&route)[kRouteSize]) {
  TextBuffer text(route, kRouteSize);
  const RouteTags found = find_route(tags);
  if (found.first != nullptr) text.append(found.first->value);
  if (found.action != nullptr) {
    text.append("#");
    text.append(found.action->value);
  }
  return text.length() > 0;
}

}  // namespace pgleak
