#include <optional>

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "pg/worker.hpp"
#include "recorder/history.hpp"
#include "recorder/recorder.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 30000;
constexpr Micros kLimitsInterval = 5 * kSecond;
constexpr Micros kPauseAfterError = 5 * kSecond;

// The catalogs use -1 for no limit, and -2 for an invalid database.
std::int32_t positive(std::int32_t limit) { return limit > 0 ? limit : 0; }

std::int32_t database_limit(Oid database) {
  HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
  if (!HeapTupleIsValid(tuple)) return 0;
  const std::int32_t limit = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datconnlimit;
  ReleaseSysCache(tuple);
  return positive(limit);
}

// Returns nothing for a superuser, to whom no connection limit applies, not even that of the database.
std::optional<std::int32_t> role_limit(Oid role) {
  HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
  if (!HeapTupleIsValid(tuple)) return 0;
  const FormData_pg_authid* const form = reinterpret_cast<const FormData_pg_authid*>(GETSTRUCT(tuple));
  const std::int32_t limit = positive(form->rolconnlimit);
  const bool is_superuser = form->rolsuper;
  ReleaseSysCache(tuple);
  return is_superuser ? std::nullopt : std::optional(limit);
}

PoolLimits look_up(std::uint32_t database_oid, std::uint32_t role_oid) {
  const std::optional<std::int32_t> of_role = role_limit(role_oid);
  if (!of_role) return PoolLimits{database_oid, role_oid, 0, 0};
  return PoolLimits{database_oid, role_oid, database_limit(database_oid), *of_role};
}

void publish_connection_limits() {
  const int end = shared->pools.end.load(std::memory_order_acquire);
  for (int i = 0; i < end; i++) {
    Pool pool;
    if (!pool_entry(i).read(&pool) || !pool.is_used) continue;
    const PoolLimits limits = look_up(pool.database_oid, pool.who.role_oid);
    pool_limits(i).write([&limits](PoolLimits* value) { *value = limits; });
  }
}

// Returns true if the transaction was committed.
template <typename Body>
bool run_upkeep(MemoryContext context, Body body) {
  set_interruptible(true);
  ErrorData* error = run_in_transaction(context, kTimeoutMs, [&body] {
    body();
    set_interruptible(false);
  });
  set_interruptible(false);
  pgstat_report_stat(true);
  if (error != nullptr)
    ereport(DEBUG1, (errcode(error->sqlerrcode), errmsg("pgleak recorder: could not maintain pools: %s",
                                                        error->message != nullptr ? error->message : "")));
  return error == nullptr;
}

void update_connection_limits(MemoryContext context) {
  static MonotonicTime due_at{};
  static ChangeWatch catalogs{};
  static std::uint64_t known = 0;  // pools.begun as of the last success; 0 after a failure
  const MonotonicTime now = monotonic_now();
  if (now < due_at) return;
  due_at = now + kLimitsInterval;
  const std::uint64_t begun = shared->pools.begun.load(std::memory_order_acquire);
  if (!may_have_changed(&catalogs, now) && begun == known) return;
  known = run_upkeep(context, [] { publish_connection_limits(); }) ? begun : 0;
}

void send_notifications(MemoryContext context) {
  static MonotonicTime retry_at{};
  VerdictQueue& verdict_queue = shared->pools.verdict_queue;
  const std::uint64_t waiting = verdict_queue.waiting();
  const MonotonicTime now = monotonic_now();
  if (waiting == 0 || now < retry_at || RecoveryInProgress()) return;
  if (!settings.notify || run_upkeep(context, [waiting] { notify_verdicts(waiting); }))
    verdict_queue.finish_oldest(waiting);
  else
    retry_at = now + kPauseAfterError;
}

}  // namespace

void maintain_pools(MemoryContext context) {
  Assert(is_recorder());
  update_connection_limits(context);
  send_notifications(context);
}

}  // namespace pgleak
