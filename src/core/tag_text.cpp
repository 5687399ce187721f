#include "core/tag_text.hpp"

#include <cstring>

namespace pgleak {

namespace {

bool is_blank(char c) { return is_space(c) || c == ';'; }

std::size_t length_of(Span span) { return static_cast<std::size_t>(span.end - span.at); }

Span empty_at(const char* at) { return Span{at, at}; }

// The comments before the first token.
void find_leading(Span statement, TagComments* found) {
  const bool is_long = statement.end - statement.at > static_cast<std::ptrdiff_t>(kTagTextSize);
  Span text{statement.at, is_long ? statement.at + kTagTextSize : statement.end};
  skip_blank(&text, [found](Span inside, bool is_whole) {
    if (!is_whole) {
      found->is_truncated = true;
      return;
    }
    if (found->leading.is_empty()) found->leading.at = inside.at - 2;
    found->leading.end = inside.end + 2;
  });
}

// The start of the comment that ends at `end`, or nullptr if it is not within the text. Comments nest, so
// this counts both marks backwards.
const char* comment_start(const char* begin, const char* end) {
  int depth = 0;
  for (const char* at = end - 2; at >= begin;) {
    if (at[0] == '*' && at[1] == '/') {
      depth++;
      at -= 2;
    } else if (at[0] == '/' && at[1] == '*') {
      if (--depth == 0) return at;
      at -= 2;
    } else {
      at--;
    }
  }
  return nullptr;
}

// Statements longer than this are not read from their start to tell a line comment from dashes in a string.
constexpr std::ptrdiff_t kMaxLexed = 16384;

// True if there are two dashes between `at` and the start of its line.
bool has_dashes_before(const char* begin, const char* at) {
  const void* const newline = memrchr(begin, '\n', static_cast<std::size_t>(at - begin));
  const char* dash = newline != nullptr ? static_cast<const char*>(newline) : begin;
  while ((dash = static_cast<const char*>(std::memchr(dash, '-', static_cast<std::size_t>(at - dash))))) {
    if (++dash < at && *dash == '-') return true;
  }
  return false;
}

// The comments after the last token, by the lexer, from the first byte to the last.
Span lex_trailing(Span statement) {
  Span found = empty_at(statement.end);
  skip_blank(&statement, [](Span, bool) {});
  while (!statement.is_empty()) {
    skip_token(&statement);
    found = empty_at(statement.end);
    skip_blank(&statement, [&found](Span inside, bool is_whole) {
      if (!is_whole) return;
      if (found.is_empty()) found.at = inside.at - 2;
      found.end = inside.end + 2;
    });
  }
  return found;
}

// The comments after the last token. A correct statement that ends in the mark that ends a comment does not
// end within a string, so only a line comment could be mistaken. Two dashes in a string look the same; then
// the lexer tells, once for the whole statement.
void find_trailing(Span statement, TagComments* found) {
  const bool is_long = statement.end - statement.at > static_cast<std::ptrdiff_t>(kTagTextSize);
  const char* const begin = is_long ? statement.end - kTagTextSize : statement.at;
  const char* end = statement.end;
  for (;;) {
    while (end > begin && is_blank(end[-1])) end--;
    if (end - begin < 4 || end[-1] != '/' || end[-2] != '*') return;
    const char* const start = comment_start(begin, end);
    if (start == nullptr) {
      found->is_truncated = found->is_truncated || is_long;
      return;
    }
    const bool is_first = found->trailing.is_empty();
    // What comes before the next comment of the same line has been looked at.
    const bool is_known =
        !is_first && std::memchr(start, '\n', length_of(Span{start, found->trailing.at})) == nullptr;
    if (!is_known && has_dashes_before(statement.at, start)) {
      if (statement.end - statement.at <= kMaxLexed) found->trailing = lex_trailing(statement);
      return;
    }
    if (is_first) found->trailing.end = end;
    found->trailing.at = start;
    end = start;
  }
}

void append(TagText* text, const char* bytes, std::size_t length) {
  std::memcpy(text->text + text->length, bytes, length);
  text->length = static_cast<std::uint16_t>(text->length + length);
}

void append_comments(TagText* text, Span comments) {
  if (length_of(comments) > kTagTextSize - text->length)
    text->is_truncated = true;
  else
    append(text, comments.at, length_of(comments));
}

// A setting that finds no room beside the comments is left out.
void append_setting(TagText* text, const char* setting) {
  const std::size_t length = std::strlen(setting);
  if (length == 0) return;
  if (length + 4 > kTagTextSize - text->length) {
    text->is_truncated = true;
    return;
  }
  append(text, "/*", 2);
  append(text, setting, length);
  append(text, "*/", 2);
}

}  // namespace

TagComments find_tag_comments(const char* statement, std::size_t length) {
  const Span whole{statement, statement + length};
  TagComments found{empty_at(statement), empty_at(statement), false};
  find_leading(whole, &found);
  // Without a token, all comments are leading ones.
  find_trailing(Span{found.leading.end, whole.end}, &found);
  return found;
}

namespace {

// The cheap half of the answer.
bool has_quoted_value(Span text) { return memmem(text.at, length_of(text), "='", 2) != nullptr; }

bool has_tags(const TagComments& comments) {
  if (comments.is_truncated || has_quoted_value(comments.leading) || has_quoted_value(comments.trailing))
    return true;
  Tags tags;
  read_tags(comments.leading.at, length_of(comments.leading), &tags);
  if (tags.count == 0) read_tags(comments.trailing.at, length_of(comments.trailing), &tags);
  return tags.count > 0;
}

}  // namespace

void update_tag_text(TagText* text, XactSeq xact_seq, const TagComments& comments, const char* setting) {
  const bool is_new = text->xact_seq != xact_seq || (!comments.is_empty() && has_tags(comments));
  text->xact_seq = xact_seq;
  text->length = is_new ? 0 : text->comments_length;
  if (is_new) {
    text->is_truncated = comments.is_truncated;
    append_comments(text, comments.leading);
    append_comments(text, comments.trailing);
    text->comments_length = text->length;
  }
  append_setting(text, setting);
}

void add_shown_statement(TagText* text, const char* statement, std::size_t length, bool is_cut) {
  if (is_cut && text->length > 0) return;
  const TagComments comments = find_tag_comments(statement, length);
  if (comments.is_empty() || !has_tags(comments)) return;
  const TagText before = *text;
  clear(text);
  text->is_truncated = comments.is_truncated;
  append_comments(text, comments.leading);
  append_comments(text, comments.trailing);
  text->comments_length = text->length;
  append_comments(text, Span{before.text + before.comments_length, before.text + before.length});
}

void read_tags(const TagText& text, Tags* tags) {
  read_tags(text.text, text.length, tags);
  if (text.is_truncated) tags->is_truncated = true;
}

}  // namespace pgleak
