#include "functions/functions.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "postmaster/bgworker.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"  // declares get_database_name from 19 on
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

// Names of a client backend are those in its slot.
LoginNames login_names(int index, const StatusEntry& entry) {
  BackendOwner owner;
  if (index < shared->slot_count && session_slot(index).backend.read_owner(entry.id, &owner))
    return LoginNames{pstrdup(owner.database), pstrdup(owner.role), owner.encoding};
  LoginNames names{nullptr, nullptr, GetDatabaseEncoding()};
  if (entry.database_oid != InvalidOid) names.database = get_database_name(entry.database_oid);
  if (entry.role_oid != InvalidOid) names.role = GetUserNameFromId(entry.role_oid, true);
  return names;
}

const char* backend_type_name(const StatusEntry& entry) {
  const BackendType type = static_cast<BackendType>(entry.backend_type);
  const char* worker = type == B_BG_WORKER ? GetBackgroundWorkerTypeByPid(entry.id.pid) : nullptr;
  return worker != nullptr ? worker : GetBackendTypeDesc(type);
}

std::optional<Micros> time_since(WallTime start, WallTime now) {
  if (!start.is_set()) return std::nullopt;
  return now > start ? now - start : Micros{0};
}

}  // namespace pgleak
