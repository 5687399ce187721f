#include "functions/functions.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "utils/acl.h"
}

namespace pgleak {

void require_preloading() {
  if (shared == nullptr)
    ereport(
        ERROR,
        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
         errmsg("pgleak must be loaded via \"shared_preload_libraries\""),
         errhint("Add pgleak to \"shared_preload_libraries\" in postgresql.conf and restart the server.")));
}

std::optional<int> find_session(int pid, StatusEntry* entry) {
  for (int i = 0; i < shared->slot_count; i++)
    if (read_status(i, entry) == StatusRead::kDone && entry->id.pid == pid && entry->is_client_backend)
      return i;
  return std::nullopt;
}

std::optional<int> find_client_backend(int pid, StatusEntry* entry) {
  const std::optional<int> index = find_session(pid, entry);
  if (!index)
    ereport(WARNING, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("PID %d is not a client backend", pid),
                      errhint("See pgleak.leaks or pg_stat_activity for process IDs of sessions.")));
  return index;
}

bool may_see_details(Oid role) {
  return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || has_privs_of_role(GetUserId(), role);
}

}  // namespace pgleak
