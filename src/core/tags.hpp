// Owns: the tags that applications write into comments of their statements: which code, which request.
// Called by server/tags_json and server/leak_log with statements as the status array holds them.
// Pure: never allocates, never fails whatever the bytes are, reads each byte a bounded number of times.
//
// Where: block comments before the first token of the statement and after its last one; white space, line
// comments and semicolons may stand around them. Strings, quoted identifiers, dollar quotes and nested
// comments are told apart as the server's lexer (scan.l) does with standard_conforming_strings on.
//
// What, one of the two in one comment, and a comment that is anything else has no tags at all:
//   sqlcommenter: key='value',key2='value2'
//     Keys and values are percent-decoded, and \' is a quote. A percent sign that is not followed by two
//     hexadecimal digits stays as it is, and so does %00. A key is visible text without , : = " or ; and
//     the first one does not begin with +, which is a hint to some planner.
//   marginalia: key:value,key2:value2
//     Taken literally. A key is a letter or _, then letters, digits, _ . or -. There is no space around the
//     colon, and no value is empty or begins with : or // (a cast, a URL). A comma that no key and colon
//     follow belongs to the value.
// White space is allowed at both ends of the comment and around its commas.
//
// If a key comes again the first one wins: so a statement has the same tags whether or not its end is cut
// off.
#ifndef PGLEAK_CORE_TAGS_HPP
#define PGLEAK_CORE_TAGS_HPP

#include <cstddef>

namespace pgleak {

// What is beyond these is left out or, in a value, cut off; then Tags::is_truncated.
inline constexpr int kMaxTags = 16;
inline constexpr std::size_t kTagKeySize = 64;     // bytes decoded, including the NUL
inline constexpr std::size_t kTagValueSize = 513;  // a W3C tracestate has 512

// Bytes as they are in the statement or were percent-encoded; neither holds a NUL. The last character may be
// cut in its middle.
struct Tag {
  char key[kTagKeySize];
  char value[kTagValueSize];
  bool has_decoded_bytes;  // some beyond ASCII were percent-encoded, which by convention are UTF-8
};

struct Tags {
  int count;
  // There may have been more: see the limits above and read_tags().
  bool is_truncated;
  Tag tags[kMaxTags];  // only the first `count` are set
};

// Reads the tags of the `length` bytes at `statement`, up to a NUL if there is one before.
//
// `is_cut`: the statement went on, and its end is lost. Then a tag is kept up to the cut, without an escape
// sequence or key that is not whole, and the tags are truncated unless all of them come from before the first
// token: those are known to be complete. A cut statement without tags is truncated, as it may have had some.
void read_tags(const char* statement, std::size_t length, bool is_cut, Tags* tags);

// The value of the tag `key`, or nullptr.
const char* find_tag(const Tags& tags, const char* key);

// Bytes for write_route(), including the NUL.
inline constexpr std::size_t kRouteSize = 129;

// Writes the part of the application that a person would look for into `route`: the tag "route" or, as Rails
// has it, "controller#action". Cut between characters of UTF-8. False, and empty, if there is none.
bool write_route(const Tags& tags, char (&route)[kRouteSize]);

}  // namespace pgleak

#endif
