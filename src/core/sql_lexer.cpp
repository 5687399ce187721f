#include "core/sql_lexer.hpp"

#include <cstring>

namespace pgleak {

namespace {

bool is_newline(char c) { return c == '\n' || c == '\r'; }
bool is_identifier_start(char c) { return is_letter(c) || is_beyond_ascii(c); }
bool is_identifier_part(char c) { return is_identifier_start(c) || is_digit(c); }

// Skips to the next `quote` and past it. A doubled quote looks like two adjacent strings, which makes no
// difference here.
void skip_quoted(Span* text, char quote) {
  text->at++;
  while (!text->is_empty() && *text->at != quote) text->at++;
  if (!text->is_empty()) text->at++;
}

// A string continues after white space that contains a newline, and keeps its kind.
bool is_continued(Span text) {
  bool has_newline = false;
  while (!text.is_empty()) {
    if (text.starts_with('-', '-')) {
      skip_line_comment(&text);
    } else if (is_space(*text.at)) {
      has_newline = has_newline || is_newline(*text.at);
      text.at++;
    } else {
      break;
    }
  }
  return has_newline && text.starts_with('\'');
}

// Skips a string with backslash escapes, starting at its first quote.
void skip_escape_string(Span* text) {
  for (;;) {
    text->at++;
    while (!text->is_empty() && *text->at != '\'') {
      if (*text->at == '\\' && text->end - text->at >= 2) text->at++;
      text->at++;
    }
    if (text->is_empty()) return;
    text->at++;
    if (text->starts_with('\'')) continue;
    if (!is_continued(*text)) return;
    while (*text->at != '\'') is_space(*text->at) ? void(text->at++) : skip_line_comment(text);
  }
}

// At a dollar sign: skips $tag$...$tag$, or just the sign.
void skip_dollar(Span* text) {
  const char* const start = text->at++;
  const char* p = text->at;
  if (p < text->end && is_identifier_start(*p))
    while (p < text->end && is_identifier_part(*p)) p++;
  if (p == text->end || *p != '$') return;

  const std::size_t length = static_cast<std::size_t>(p + 1 - start);
  for (p++; p < text->end; p++) {
    p = static_cast<const char*>(std::memchr(p, '$', static_cast<std::size_t>(text->end - p)));
    if (p == nullptr || static_cast<std::size_t>(text->end - p) < length) break;
    if (std::memcmp(p, start, length) == 0) {
      text->at = p + length;
      return;
    }
  }
  text->at = text->end;
}

}  // namespace

void skip_line_comment(Span* text) {
  while (!text->is_empty() && !is_newline(*text->at)) text->at++;
}

Span skip_block_comment(Span* text, bool* is_whole) {
  text->at += 2;
  Span inside = *text;
  for (int depth = 1; !text->is_empty();) {
    if (text->starts_with('/', '*')) {
      depth++;
      text->at += 2;
    } else if (text->starts_with('*', '/')) {
      text->at += 2;
      if (--depth == 0) {
        inside.end = text->at - 2;
        *is_whole = true;
        return inside;
      }
    } else {
      text->at++;
    }
  }
  *is_whole = false;
  return inside;
}

void skip_token(Span* text) {
  const char first = *text->at;
  if (first == '\'' || first == '"') {
    skip_quoted(text, first);
  } else if (first == '$') {
    skip_dollar(text);
  } else if (text->starts_with('e', '\'') || text->starts_with('E', '\'')) {
    text->at++;
    skip_escape_string(text);
  } else if (is_identifier_start(first)) {
    while (!text->is_empty() && (is_identifier_part(*text->at) || *text->at == '$')) text->at++;
  } else if (is_digit(first)) {
    while (!text->is_empty() && is_identifier_part(*text->at)) text->at++;
  } else {
    text->at++;
  }
}

}  // namespace pgleak
