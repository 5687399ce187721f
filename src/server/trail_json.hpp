// Owns: a trail as JSON. Called by the recorder and by the live views.
#ifndef PGLEAK_SERVER_TRAIL_JSON_HPP
#define PGLEAK_SERVER_TRAIL_JSON_HPP

#include "core/trail.hpp"

namespace pgleak {

// A JSON array of {"at", "query_id", "query"}, in the encoding of this process's database and in the current
// memory context. The texts are in `source_encoding`; always valid JSON, whatever they hold. nullptr if there
// are none. Needs a transaction. May ereport (out of memory), not because of the texts.
char* trail_json(const TrailEntry* entries, int count, int source_encoding);

}  // namespace pgleak

#endif
