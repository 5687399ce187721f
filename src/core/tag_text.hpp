// Where a session's tags come from: the comments of its newest statement that has any, and the setting
// pgleak.tags. Its own backend cuts them out of the whole statement, however long that is, and publishes them
// as text; who reads them parses that.
//
// Never allocates, blocks or ereports.
#ifndef PGLEAK_CORE_TAG_TEXT_HPP
#define PGLEAK_CORE_TAG_TEXT_HPP

#include <cstddef>
#include <cstdint>

#include "core/session.hpp"
#include "core/sql_lexer.hpp"
#include "core/tags.hpp"

namespace pgleak {

inline constexpr std::size_t kTagTextSize = 1024;  // bytes for comments and setting together
static_assert(kMaxTagList + 4 <= kTagTextSize, "a setting without comments fits");

// Block comments, each whole, one after the other. The setting comes last, as a comment of its own, so a tag
// in a statement's comment wins. In the encoding of the session's database.
struct TagText {
  XactSeq xact_seq;               // of the transaction of the statement
  std::uint16_t comments_length;  // bytes; the rest of the text is the setting
  std::uint16_t length;
  bool is_truncated;  // a comment was too long
  char text[kTagTextSize];
};

// The comments of a statement that may have tags.
struct TagComments {
  Span leading;   // from the first comment before the first token up to that token; may contain white space
  Span trailing;  // the same after the last token
  bool is_truncated;  // there is one that does not count

  bool is_empty() const { return leading.is_empty() && trailing.is_empty() && !is_truncated; }
};

// Finds the comments of `statement`, which is correct SQL: it has been parsed. They count within its first
// and its last kTagTextSize bytes. A line comment at the very end hides those before it. Reads no more than
// these bytes, unless a line of the statement has two dashes in it.
TagComments find_tag_comments(const char* statement, std::size_t length);

// True if find_tag_comments() may find anything. Inline because every statement asks.
inline bool may_have_tags(const char* statement, std::size_t length) {
  if (length == 0) return false;
  const char first = statement[0];
  const char last = statement[length - 1];
  // The only marks up to the slash that a statement begins with, besides a comment's, are parentheses.
  return (first <= '/' && !is_beyond_ascii(first)) || last == '/' || last == ';' || last == ' ' ||
         last == '\n';
}

// Makes it a text without tags.
inline void clear(TagText* text) {
  text->comments_length = text->length = 0;
  text->is_truncated = false;
}

// Takes over the comments of a newer statement of transaction `xact_seq`, unless it has none, and the setting
// ("": none; a correct one, see check_tag_list()).
void update_tag_text(TagText* text, XactSeq xact_seq, const TagComments& comments, const char* setting);

// Takes over the tags of the statement that the session shows, which is newer if it failed before it ran: in a
// syntax error, for one. `is_cut`: its end is missing, so it only counts if the text is empty.
void add_shown_statement(TagText* text, const char* statement, std::size_t length, bool is_cut);

// Reads the tags of the text.
void read_tags(const TagText& text, Tags* tags);

}  // namespace pgleak

#endif
