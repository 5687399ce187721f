// The checks with which SQL functions about a session begin: pgleak is loaded, the session exists, the caller
// may see it.
//
// Called by the other files of this directory. May ereport.
#ifndef PGLEAK_FUNCTIONS_FUNCTIONS_HPP
#define PGLEAK_FUNCTIONS_FUNCTIONS_HPP

#include <optional>

#include "pg/backend_status.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

// Raises an ERROR if the library was not preloaded, because then there is no shared memory.
void require_preloading();

// Finds the slot of the client backend `pid` and copies its status entry; nothing if there is none. Never
// ereports.
std::optional<int> find_session(int pid, StatusEntry* entry);

// The same, with a WARNING if there is none: a query over many sessions goes on past one that has left, as
// with pg_cancel_backend().
std::optional<int> find_client_backend(int pid, StatusEntry* entry);

// True if the current user may see the details of a session of `role`. The same rule as
// HAS_PGSTAT_PERMISSIONS, by which pg_stat_activity masks columns but which is private to its file. May
// ereport.
bool may_see_details(Oid role);

// Database and role with which a process logged in.
struct LoginNames {
  const char* database;  // nullptr: none, as for the startup process
  const char* role;      // nullptr: none
  int encoding;          // of both, and of what the process shows
};

// The names of the process at `index` of the status array, allocated in the current memory context. May
// ereport.
LoginNames login_names(int index, const StatusEntry& entry);

// pg_stat_activity.backend_type. May ereport.
const char* backend_type_name(const StatusEntry& entry);

// The time since `start`, which the wall clock may have been set back behind; nothing if there is no start.
std::optional<Micros> time_since(WallTime start, WallTime now);

}  // namespace pgleak

#endif
