#include "core/statement_kind.hpp"

#include <cstring>

#include "core/sql_lexer.hpp"

namespace pgleak {

namespace {

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_word(Span token, const char* word) {
  const char* p = token.at;
  for (; p < token.end && *word != '\0'; p++, word++)
    if (to_lower(*p) != *word) return false;
  return p == token.end && *word == '\0';
}

template <std::size_t count>
bool is_one_of(Span token, const char* const (&words)[count]) {
  for (const char* word : words)
    if (is_word(token, word)) return true;
  return false;
}

// Skips blanks and returns the next token; an empty one at the end.
Span next_token(Span* text) {
  skip_blank(text, [](Span, bool) {});
  Span token{text->at, text->at};
  if (text->is_empty()) return token;
  skip_token(text);
  token.end = text->at;
  return token;
}

constexpr const char* kBeginWords[] = {"work",  "transaction", "isolation",   "level",      "read",
                                       "write", "only",        "committed",   "repeatable", "serializable",
                                       "not",   "deferrable",  "uncommitted", ",",          "transaction"};

constexpr const char* kConstants[] = {"null",
                                      "true",
                                      "false",
                                      "now",
                                      "version",
                                      "current_timestamp",
                                      "current_date",
                                      "current_time",
                                      "current_user",
                                      "current_schema",
                                      "current_database",
                                      "pg_is_in_recovery"};

// All that follows belongs to the same BEGIN, START TRANSACTION or SET TRANSACTION.
bool is_only_begin(Span text) {
  for (Span token = next_token(&text); !token.is_empty(); token = next_token(&text))
    if (!is_one_of(token, kBeginWords)) return false;
  return true;
}

bool is_constant(Span token) {
  const char first = *token.at;
  if (is_letter(first) || is_beyond_ascii(first)) return is_one_of(token, kConstants);
  return first != '"' && first != '*';
}

// What is selected is known without reading anything. A name after AS says nothing.
bool is_only_constants(Span text) {
  for (Span token = next_token(&text); !token.is_empty(); token = next_token(&text)) {
    if (is_word(token, "as"))
      next_token(&text);
    else if (!is_constant(token))
      return false;
  }
  return true;
}

}  // namespace

StatementKind statement_kind(const char* statement, std::size_t length) {
  Span text{statement, statement + length};
  const Span first = next_token(&text);
  if (first.is_empty() || is_word(first, "show")) return StatementKind::kProbe;
  if (is_word(first, "select") || is_word(first, "values"))
    return is_only_constants(text) ? StatementKind::kProbe : StatementKind::kOther;
  const bool is_set = is_word(first, "set") && is_word(next_token(&text), "transaction");
  const bool begins = is_set || is_word(first, "begin") || is_word(first, "start");
  return begins && is_only_begin(text) ? StatementKind::kBegin : StatementKind::kOther;
}

void write_first_words(const char* statement, std::size_t length, char (&words)[kFirstWordsSize]) {
  constexpr char kMore[] = "...";
  constexpr std::size_t kRoom = kFirstWordsSize - sizeof(kMore);
  Span text{statement, statement + length};
  skip_blank(&text, [](Span, bool) {});
  while (!text.is_empty() && (is_space(text.end[-1]) || text.end[-1] == ';')) text.end--;
  std::size_t size = 0;
  std::size_t last_word = 0;  // where the last one ended
  while (!text.is_empty() && size < kRoom) {
    const bool is_blank = is_space(*text.at);
    if (is_blank) last_word = size;
    words[size++] = is_blank ? ' ' : *text.at;
    do text.at++;
    while (is_blank && !text.is_empty() && is_space(*text.at));
  }
  words[size] = '\0';
  if (text.is_empty()) return;
  if (last_word > 0) size = last_word;
  // Not within a character, where there is no blank to cut at.
  while (size > 0 && last_word == 0 && is_beyond_ascii(words[size - 1])) size--;
  std::memcpy(words + size, kMore, sizeof(kMore));
}

}  // namespace pgleak
