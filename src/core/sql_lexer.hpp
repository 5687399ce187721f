// Tells strings, comments and other tokens of a statement apart, as the server's lexer (scan.l) does with
// standard_conforming_strings on.
//
// Accepts any bytes, and a statement that stops anywhere. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_SQL_LEXER_HPP
#define PGLEAK_CORE_SQL_LEXER_HPP

namespace pgleak {

// Part of a statement, from `at` to `end` (exclusive).
struct Span {
  const char* at;
  const char* end;

  bool is_empty() const { return at == end; }
  bool starts_with(char a) const { return at < end && at[0] == a; }
  bool starts_with(char a, char b) const { return end - at >= 2 && at[0] == a && at[1] == b; }
};

inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
// In every server encoding, a byte below 0x80 is a character of its own.
inline bool is_beyond_ascii(char c) { return (static_cast<unsigned char>(c) & 0x80) != 0; }

// Skips to the end of the line.
void skip_line_comment(Span* text);

// Skips the block comment, possibly nested, that `text` starts with. Returns its inside, and sets `*is_whole`
// to whether it has an end.
Span skip_block_comment(Span* text, bool* is_whole);

// Skips to the next token, and calls visit(inside, is_whole) for each block comment on the way.
template <typename Visit>
void skip_blank(Span* text, Visit visit) {
  while (!text->is_empty()) {
    if (is_space(*text->at) || *text->at == ';') {
      text->at++;
    } else if (text->starts_with('-', '-')) {
      skip_line_comment(text);
    } else if (text->starts_with('/', '*')) {
      bool is_whole;
      const Span inside = skip_block_comment(text, &is_whole);
      visit(inside, is_whole);
    } else {
      return;
    }
  }
}

// Skips one token, or one byte of an operator, since no operator can hide a comment. `text` must not be
// empty.
void skip_token(Span* text);

}  // namespace pgleak

#endif
