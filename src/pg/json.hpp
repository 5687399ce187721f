// The tags and the trail of a session as JSON, for the live views and the history.
//
// The result is always valid JSON, in the encoding of this process's database and allocated in the current
// memory context. Needs a transaction. May ereport (out of memory), but never because of the texts.
#ifndef PGLEAK_PG_JSON_HPP
#define PGLEAK_PG_JSON_HPP

#include "core/trail.hpp"

namespace pgleak {

// Returns the tags of `statement` (`length` bytes in `source_encoding`, as in the status array) as a JSON
// object of strings, with "truncated": true if there may have been more. Returns nullptr if there are none.
char* tags_json(const char* statement, int length, int source_encoding);

// Returns the route that the tags of `statement` name (find_route()), in the database's encoding; nullptr:
// none.
char* route_text(const char* statement, int length, int source_encoding);

// Returns the trail as a JSON array of {"at", "query_id", "query"}. The texts are in `source_encoding`.
// Returns nullptr if `count` is 0.
char* trail_json(const TrailEntry* entries, int count, int source_encoding);

}  // namespace pgleak

#endif
