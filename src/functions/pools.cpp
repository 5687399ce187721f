// The C function behind the view pgleak.pools.
//
// Any session may call it. It reads shared memory, takes no lock, and checks permissions beyond GRANT itself.

#include <cmath>
#include <cstdint>
#include <optional>

#include "core/pool_advice.hpp"
#include "functions/functions.hpp"
#include "functions/pool_rows.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/lock_names.hpp"
#include "pg/postgres.hpp"
#include "pg/row.hpp"
#include "shmem/pool_memory.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "funcapi.h"
#include "mb/pg_wchar.h"

PG_FUNCTION_INFO_V1(pgleak_read_pools);
}

namespace pgleak {

namespace {

// Nobody needs more than two decimals of leaks per hour.
double rounded(double rate) { return static_cast<double>(std::llround(rate * 100)) / 100; }

void add_number(Row* row, std::int32_t number, bool is_known) {
  is_known ? row->add_int32(number) : row->add_null();
}

void add_advice(Row* row, const PoolState& state, PoolScope scope) {
  char advice[kAdviceSize];
  char lock[kLockTextSize] = "";
  const Blocker& blocker = state.waits.blocker;
  const LOCKTAG tag = tag_of(blocker.lock);
  if (blocker.kind != Blocker::Kind::kNone)
    write_lock(tag, blocker.mode, is_relation_lock(tag) ? relation_name(tag) : nullptr, lock);
  write_advice(advice, state, scope,
               AdviceReader{lock[0] != '\0' ? lock : nullptr, may_see_details(blocker.role_oid)});
  if (advice[0] == '\0')
    row->add_null();
  else
    row->add_foreign_text(advice, PG_UTF8);
}

// The columns of pgleak.read_pools(), in its order. A caller that may not see the states of sessions sees
// nothing derived from them. The number of sessions and of leaks is public: pg_stat_activity and pgleak.leaks
// show it to everybody.
void add_pool(Row* row, const Pool& pool) {
  const PoolState& state = pool.state;
  const bool is_visible = may_see_pool(pool);
  const PoolCounts& counts = state.counts;

  add_pool_identity(row, pool, is_visible);
  row->add_int32(counts.connections);
  add_number(row, counts.active, is_visible);
  add_number(row, counts.idle, is_visible);
  add_number(row, counts.idle_in_transaction, is_visible);
  row->add_int32(counts.leaked);
  add_number(row, counts.waiting, is_visible);
  row->add_int32(state.peak);
  add_number(row, state.capacity, state.capacity > 0);
  if (!is_visible) {
    row->add_nulls(5);
    row->add_text("<insufficient privilege>");
    row->add_nulls(2);
    row->add_text(to_string(pool.scope));
    return;
  }
  add_number(row, state.in_use_percent(), state.capacity > 0);
  row->add_time(state.busy_since);
  row->add_double(rounded(state.leaks_per_hour));
  row->add_time(state.exhausted_at);
  row->add_text(to_string(state.verdict));
  add_advice(row, state, pool.scope);
  row->add_int32(state.suspects.count);
  row->add_duration(state.suspects.count > 0 ? std::optional(state.suspects.longest_idle) : std::nullopt);
  row->add_text(to_string(pool.scope));
}

void add_entry(ReturnSetInfo* result, int index) {
  Pool pool;
  if (!pool_entry(index).read(&pool) || !pool.is_used) return;
  if (pool.state.counts.connections == 0 && pool.scope != PoolScope::kServer) return;
  Row row(result);
  add_pool(&row, pool);
  row.finish();
}

}  // namespace

void read_pools(ReturnSetInfo* result) {
  const int end = shared->pools.end.load(std::memory_order_acquire);
  for (int i = 0; i < end; i++) add_entry(result, i);
  add_entry(result, other_pool());
  add_entry(result, server_pool());
}

}  // namespace pgleak

Datum pgleak_read_pools(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_pools(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}
