// The tags that applications write into comments of their statements, to say which code and which request
// sent them.
//
// Called by pg/json and scanner/leak_log with statements from the status array. Accepts any bytes, reads each
// a bounded number of times, allocates nothing, never ereports.
//
// Position: block comments before the first token of the statement and after its last one; white space, line
// comments and semicolons may surround them. Strings, quoted identifiers, dollar quotes and nested comments
// are recognized as by the server's lexer (scan.l) with standard_conforming_strings on.
//
// Format: one of these two per comment; a comment in any other format has no tags.
//   sqlcommenter: key='value',key2='value2'
//     Keys and values are percent-decoded, and \' is a quote. A percent sign that is not followed by two
//     hexadecimal digits stays as it is, and so does %00. A key is visible text without , : = " or ; and
//     the first key does not begin with +, which marks a planner hint.
//   marginalia: key:value,key2:value2
//     Taken literally. A key is a letter or _, followed by letters, digits, _ . or -. There is no space
//     around the colon, and no value is empty or begins with : or // (a cast, a URL). A comma that is not
//     followed by a key and a colon belongs to the value.
// White space is allowed at both ends of the comment and around its commas.
//
// If a key repeats, the first one wins, so a statement has the same tags whether or not its end is missing.
#ifndef PGLEAK_CORE_TAGS_HPP
#define PGLEAK_CORE_TAGS_HPP

#include <cstddef>

namespace pgleak {

// Tags beyond these limits are omitted, longer values truncated; Tags::is_truncated says so.
inline constexpr int kMaxTags = 16;
inline constexpr std::size_t kTagKeySize = 64;     // decoded bytes, including the NUL
inline constexpr std::size_t kTagValueSize = 513;  // room for a W3C tracestate of 512

// Bytes as in the statement, or decoded; neither field contains a NUL. The last character may be incomplete.
struct Tag {
  char key[kTagKeySize];
  char value[kTagValueSize];
  bool has_decoded_bytes;  // some bytes beyond ASCII were percent-encoded; by convention they are UTF-8
};

struct Tags {
  int count;
  // There may have been more; see the limits above and read_tags().
  bool is_truncated;
  Tag tags[kMaxTags];  // only the first `count` are set
};

// Reads the tags of the `length` bytes at `statement`, up to the first NUL if there is one.
//
// `is_cut`: the statement was longer, and its end is missing. Then a tag is kept up to the cut, without an
// incomplete escape sequence or key, and the tags are truncated unless all of them come before the first
// token, where they are known to be complete. A cut statement without tags counts as truncated, because it
// may have had some.
void read_tags(const char* statement, std::size_t length, bool is_cut, Tags* tags);

// The tag `key`, or nullptr.
const Tag* find_tag(const Tags& tags, const char* key);

// The tags that name the part of the application to look at: "route" or, as in Rails, "controller" and
// "action".
struct RouteTags {
  const Tag* first;   // nullptr: there is none
  const Tag* action;  // to be appended to a controller, behind a "#"; or nullptr
};
RouteTags find_route(const Tags& tags);

// Bytes for write_route(), including the NUL.
inline constexpr std::size_t kRouteSize = 129;

// Writes find_route() into `route`. Truncates between UTF-8 characters. Returns false and an empty string if
// there is none.
bool write_route(const Tags& tags, char (&route)[kRouteSize]);

}  // namespace pgleak

#endif
