#include "core/tags.hpp"

#include <cstring>
#include <initializer_list>

#include "core/sql_lexer.hpp"
#include "core/text.hpp"

namespace pgleak {

namespace {

using Byte = unsigned char;

// A byte of a UTF-8 character other than its first one.
bool is_continuation(char c) { return (static_cast<Byte>(c) & 0xC0) == 0x80; }

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

// Each reader returns false if the comment is in another format; it may have left tags then.
bool read_sqlcommenter(Span text, Tags* tags) {
  skip_spaces(&text);
  if (text.starts_with('+')) return false;
  for (;;) {
    const Span key = take_encoded_key(&text);
    if (key.is_empty() || !text.starts_with('=', '\'')) return false;
    text.at += 2;

    const Span value = take_encoded_value(&text);
    if (text.is_empty()) return false;
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

// Takes a value up to the comma before the next key, which stays, or to the end.
Span take_plain_value(Span* text) {
  Span value = *text;
  for (; !text->is_empty(); text->at++) {
    if (*text->at != ',') continue;
    Span next{text->at + 1, text->end};
    Span key{};
    skip_spaces(&next);
    if (take_plain_key(&next, &key)) break;
  }
  value.end = text->at;
  while (value.end > value.at && is_space(value.end[-1])) value.end--;
  return value;
}

bool read_marginalia(Span text, Tags* tags) {
  skip_spaces(&text);
  while (!text.is_empty()) {
    Span key{};
    if (!take_plain_key(&text, &key)) return false;
    const Span value = take_plain_value(&text);
    if (!value.is_empty()) add_tag(tags, key, value, true);
    if (text.is_empty()) return true;
    text.at++;
    skip_spaces(&text);
  }
  return false;
}

// --- the statement ---

void read_comment(Span inside, Tags* tags) {
  const int count = tags->count;
  const bool is_truncated = tags->is_truncated;
  if (read_sqlcommenter(inside, tags)) return;
  tags->count = count;
  tags->is_truncated = is_truncated;
  if (read_marginalia(inside, tags)) return;
  tags->count = count;
  tags->is_truncated = is_truncated;
}

}  // namespace

void read_tags(const char* comments, std::size_t length, Tags* tags) {
  tags->count = 0;
  tags->is_truncated = false;
  Span text{comments, comments + length};
  skip_blank(&text, [tags](Span inside, bool is_whole) {
    if (is_whole) read_comment(inside, tags);
  });
}

TagListError check_tag_list(const char* text) {
  const std::size_t length = std::strlen(text);
  if (length == 0) return TagListError::kNone;
  if (length > kMaxTagList) return TagListError::kTooLong;
  if (std::strstr(text, "/*") != nullptr || std::strstr(text, "*/") != nullptr) return TagListError::kComment;
  Tags tags;
  tags.count = 0;
  tags.is_truncated = false;
  if (!read_sqlcommenter(Span{text, text + length}, &tags)) return TagListError::kFormat;
  return tags.is_truncated ? TagListError::kLimits : TagListError::kNone;
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

CodeTags find_code(const Tags& tags) {
  const auto first_of = [&tags](std::initializer_list<const char*> keys) -> const Tag* {
    for (const char* const key : keys)
      if (const Tag* const tag = find_tag(tags, key)) return tag;
    return nullptr;
  };
  if (const Tag* const place = first_of({"code", "source_location"}))
    return CodeTags{place, nullptr, nullptr};
  if (const Tag* const file = first_of({"code.filepath", "code.file.path"}))
    return CodeTags{file, first_of({"code.lineno", "code.line.number"}),
                    first_of({"code.function", "code.function.name"})};
  const Tag* const file = find_tag(tags, "file");
  if (file == nullptr) return CodeTags{};
  return CodeTags{file, find_tag(tags, "line"), first_of({"function", "func"})};
}

bool write_code(const Tags& tags, char (&code)[kCodeSize]) {
  const CodeTags found = find_code(tags);
  char whole[3 * kTagValueSize];
  TextBuffer text(whole, sizeof(whole));
  if (found.place != nullptr) text.append(found.place->value);
  if (found.line != nullptr) {
    text.append(":");
    text.append(found.line->value);
  }
  if (found.function != nullptr) {
    text.append(" ");
    text.append(found.function->value);
  }
  const char* rest = whole;
  if (text.length() >= kCodeSize) rest += text.length() - (kCodeSize - 1);
  while (is_continuation(*rest)) rest++;
  TextBuffer(code, kCodeSize).append(rest);
  return code[0] != '\0';
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
