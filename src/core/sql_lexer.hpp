// Owns: telling strings, comments and other tokens of a statement apart, as the server's lexer (scan.l) does
// with standard_conforming_strings on. Called by core/tags. Pure: never allocates, never fails whatever the
// bytes are; a statement may stop anywhere.
#ifndef PGLEAK_CORE_SQL_LEXER_HPP
#define PGLEAK_CORE_SQL_LEXER_HPP

namespace pgleak {

// Part of a statement, from `at` up to `end`.
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
// In no encoding of a server is a byte below 0x80 part of a longer character.
inline bool is_beyond_ascii(char c) { return (static_cast<unsigned char>(c) & 0x80) != 0; }

// Skips to the end of the line.
void skip_line_comment(Span* text);

// Skips a block comment, which nests, and which `text` begins with. Returns its inside, and in `*is_whole`
// whether it has an end.
Span skip_block_comment(Span* text, bool* is_whole);

// Skips everything up to the next token, and calls visit(inside, is_whole) for each block comment in it.
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

// Skips one token, or part of one: an operator is taken byte by byte, as none can hide a comment. `text` is
// not empty.
void skip_token(Span* text);

}  // namespace pgleak

#endif
