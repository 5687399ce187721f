// The locks of a leak and those who wait behind it as JSON, for the live views and the history.
//
// The result is always valid JSON, in the encoding of this process's database and allocated in the current
// memory context. Needs a transaction. May ereport (out of memory), but never because of the texts.
#ifndef PGLEAK_PG_CONTENTION_JSON_HPP
#define PGLEAK_PG_CONTENTION_JSON_HPP

#include "core/contention.hpp"

namespace pgleak {

// Returns the locks as a JSON array of {"locktype", what is locked, "mode", "waiters"}. Returns nullptr if
// there are none.
char* held_json(const HeldLocks& held);

// Returns those who wait as a JSON array of {"pid", "application_name", "backend_type", "locktype", what they
// wait for, "mode", "since", "query_id", "direct"}. Where may_see(role) says no, backend_type and query_id
// are null; nullptr shows all. Returns nullptr if nobody waits.
char* waiting_json(const WaitingSessions& waiting, bool (*may_see)(unsigned int role));

}  // namespace pgleak

#endif
