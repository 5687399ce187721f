// The tags that applications write into comments of their statements, to say which code and which request
// sent them.
//
// core/tag_text cuts the comments out of a statement; pg/json, scanner/leak_log and scanner/pool_leaks read
// their tags. Accepts any bytes, reads each a bounded number of times, allocates nothing, never ereports.
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
// If a key repeats, the first one wins.
#ifndef PGLEAK_CORE_TAGS_HPP
#define PGLEAK_CORE_TAGS_HPP

#include <cstddef>
#include <cstdint>

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
  bool is_truncated;   // there were more, or longer ones
  Tag tags[kMaxTags];  // only the first `count` are set
};

// Reads the tags of the block comments in the `length` bytes at `comments`. White space, line comments and
// semicolons may surround them; the first token ends them.
void read_tags(const char* comments, std::size_t length, Tags* tags);

// Why a text is no list of tags for the setting pgleak.tags.
enum class TagListError : std::uint8_t {
  kNone,
  kTooLong,  // more than kMaxTagList bytes
  kComment,  // contains the start or the end of a comment
  kFormat,   // is not in the format of sqlcommenter
  kLimits,   // has too many tags, or too long ones; see the limits above
};

inline constexpr std::size_t kMaxTagList = 1000;  // bytes

// `text`: the inside of a comment; the empty text is correct.
TagListError check_tag_list(const char* text);

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

// The tags that say where in the application's source the statement comes from: one with all of it ("code"
// or, from Rails, "source_location"), or several (OpenTelemetry's code.*, or file, line and function).
struct CodeTags {
  const Tag* place;  // all of it, or the file; nullptr: there is none
  const Tag* line;   // nullptr: not known, or part of `place`
  const Tag* function;
};
CodeTags find_code(const Tags& tags);

// Bytes for write_code(), including the NUL.
inline constexpr std::size_t kCodeSize = 129;

// Writes find_code() into `code` as "app/orders.py:42 get_orders". If that does not fit, the start of the
// path is missing, between UTF-8 characters. Returns false and an empty string if there is none.
bool write_code(const Tags& tags, char (&code)[kCodeSize]);

}  // namespace pgleak

#endif
