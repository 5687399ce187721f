#include "server/connection_limits.hpp"

#include "server/compat.hpp"
#include "server/postgres.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

// The catalogs say -1 for no limit (-2: an invalid database).
std::int32_t positive(std::int32_t limit) { return limit > 0 ? limit : 0; }

std::int32_t database_limit(Oid database) {
  HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (!HeapTupleIsValid(tuple)) return 0;
  const std::int32_t limit = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datconnlimit;
  ReleaseSysCache(tuple);
  return positive(limit);
}

// Neither limit applies to superusers: `*is_superuser` then.
std::int32_t role_limit(Oid role, bool* is_superuser) {
  HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
  if (!HeapTupleIsValid(tuple)) return 0;
  const FormData_pg_authid* const form = reinterpret_cast<const FormData_pg_authid*>(GETSTRUCT(tuple));
  const std::int32_t limit = form->rolconnlimit;
  *is_superuser = form->rolsuper;
  ReleaseSysCache(tuple);
  return positive(limit);
}

PoolLimits look_up(std::uint32_t database_oid, std::uint32_t role_oid) {
  bool is_superuser = false;
  const std::int32_t of_role = role_limit(role_oid, &is_superuser);
  if (is_superuser) return PoolLimits{database_oid, role_oid, 0, 0};
  return PoolLimits{database_oid, role_oid, database_limit(database_oid), of_role};
}

}  // namespace

void publish_connection_limits() {
  for (int i = 0; i < kPoolCount; i++) {
    Pool pool;
    if (!shared->pools.pools[i].read(&pool) || !pool.is_used) continue;
    const PoolLimits limits = look_up(pool.database_oid, pool.who.role_oid);
    shared->pools.limits[i].write([&limits](PoolLimits* value) { *value = limits; });
  }
}

}  // namespace pgleak
