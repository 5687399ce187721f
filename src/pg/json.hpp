// The tags and the trail of a session as JSON, for the live views and the history.
//
// The result is always valid JSON, in the encoding of this process's database and allocated in the current
// memory context. Needs a transaction. May ereport (out of memory), but never because of the texts.
#ifndef PGLEAK_PG_JSON_HPP
#define PGLEAK_PG_JSON_HPP

#include "core/tags.hpp"
#include "core/trail.hpp"

namespace pgleak {

// Returns the tags (texts in `source_encoding`) as a JSON object of strings, with "truncated": true if there
// were more. Returns nullptr if there are none.
char* tags_json(const Tags& tags, int source_encoding);

// Return the route and the place in the source that the tags name (find_route(), find_code()), in the
// database's encoding; nullptr: none.
char* route_text(const Tags& tags, int source_encoding);
char* code_text(const Tags& tags, int source_encoding);

// Returns the trail as a JSON array of {"at", "query_id", "query", "idle_before"}, with "count", "last_at" and
// "idle_within" for a statement that ran several times in a row, and "omitted" for one before which others are
// missing. Durations are in seconds, null if not known. The texts are in `source_encoding`. Returns nullptr if
// `count` is 0.
char* trail_json(const TrailEntry* entries, int count, int source_encoding);

}  // namespace pgleak

#endif
