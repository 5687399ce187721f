// Owns: what SQL functions about one session begin with: is pgleak loaded, which slot is it, may one see it.
// Called by functions.cpp, rule_functions.cpp and server/hand_request. May ereport.
#ifndef PGLEAK_FUNCTIONS_FUNCTIONS_HPP
#define PGLEAK_FUNCTIONS_FUNCTIONS_HPP

#include "pg/backend_status.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

// Raises an ERROR if the library was not preloaded: there is no shared memory then.
void require_preloading();

// The slot of the client backend `pid`, and what it shows; an ERROR if there is none.
int find_client_backend(int pid, StatusEntry* entry);

// True if the current user may see the details of a session of `role`: as HAS_PGSTAT_PERMISSIONS, which
// pg_stat_activity masks by, but is private to its file.
bool may_see_details(Oid role);

}  // namespace pgleak

#endif
