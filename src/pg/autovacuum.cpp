#include "pg/autovacuum.hpp"

#include "core/autovacuum_guess.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "storage/lock.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

static_assert(kVacuumMode == ShareUpdateExclusiveLock && kRelationLock == LOCKTAG_RELATION,
              "core/ knows the server's numbers");

// A table that its own transaction has created is not there for autovacuum either. Temporary ones are none of
// its business.
std::optional<bool> is_for_autovacuum(const LockId& lock) {
  if (lock.field1 != InvalidOid && lock.field1 != MyDatabaseId) return std::nullopt;
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lock.field2));
  if (!HeapTupleIsValid(tuple)) return false;
  const FormData_pg_class* const relation = reinterpret_cast<const FormData_pg_class*>(GETSTRUCT(tuple));
  const bool is_table = relation->relkind == RELKIND_RELATION || relation->relkind == RELKIND_MATVIEW;
  const bool is_temporary = relation->relpersistence == RELPERSISTENCE_TEMP;
  ReleaseSysCache(tuple);
  return is_table && !is_temporary;
}

}  // namespace

std::optional<bool> skipped_by_autovacuum(const Contention& known, MonotonicTime now) {
  const HeldLocks& held = known.held;
  const Micros naptime = autovacuum_naptime * kSecond;
  std::optional<bool> is_skipped = false;
  if (!AutoVacuumingActive()) return is_skipped;
  for (int i = 0; i < held.count; i++) {
    if (!keeps_autovacuum_out(held.locks[i], known.held_since[i], now, naptime)) continue;
    const std::optional<bool> is_table = is_for_autovacuum(held.locks[i].lock);
    if (is_table.value_or(false)) return true;
    if (!is_table) is_skipped.reset();
  }
  return is_skipped;
}

}  // namespace pgleak
