// Owns: the tags of a statement as JSON. Called by the recorder and by the live views.
// Owns: a trail as JSON. Called by the recorder and by the live views.
#ifndef PGLEAK_PG_JSON_HPP
#define PGLEAK_PG_JSON_HPP

#include "core/trail.hpp"

namespace pgleak {

// The tags of `statement` (`length` bytes in `source_encoding`, as the status array holds them) as a JSON
// object of texts, in the encoding of this process's database and in the current memory context; with
// "truncated": true if there may have been more. Always valid JSON, whatever the bytes are. nullptr if there
// are none. Needs a transaction. May ereport (out of memory), not because of the statement.
char* tags_json(const char* statement, int length, int source_encoding);

// A JSON array of {"at", "query_id", "query"}, in the encoding of this process's database and in the current
// memory context. The texts are in `source_encoding`; always valid JSON, whatever they hold. nullptr if there
// are none. Needs a transaction. May ereport (out of memory), not because of the texts.
char* trail_json(const TrailEntry* entries, int count, int source_encoding);

}  // namespace pgleak

#endif
