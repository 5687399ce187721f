// The C functions behind pgleak.stats, pgleak.scan() and pgleak.reset().
//
// Any session may call them, as far as GRANT allows. Only pgleak.reset() writes counters.

#include <cstdint>

#include "functions/functions.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/row.hpp"
#include "pg/worker.hpp"
#include "shmem/idle_memory.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"

PG_FUNCTION_INFO_V1(pgleak_read_stats);
PG_FUNCTION_INFO_V1(pgleak_read_outcomes);
PG_FUNCTION_INFO_V1(pgleak_request_scan);
PG_FUNCTION_INFO_V1(pgleak_reset_counters);
}

namespace pgleak {

namespace {

// A scan takes microseconds, so after this long there is no scanner to do it.
constexpr Micros kScanTimeout = 10 * kSecond;
constexpr long kScanPollMs = 100;

std::uint64_t read_counter(const std::atomic<std::uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

void add_last_error(Row* row) {
  LWLockAcquire(shared->error_lock, LW_SHARED);
  const LastError error = shared->last_error;
  LWLockRelease(shared->error_lock);
  if (!error.at.is_set()) {
    row->add_nulls(2);
    return;
  }
  row->add_foreign_text(error.message, GetDatabaseEncoding());
  row->add_time(error.at);
}

// Waits until a scan that began after this call has ended.
void wait_for_scan(std::uint64_t number) {
  const MonotonicTime deadline = monotonic_now() + kScanTimeout;
  ConditionVariablePrepareToSleep(&shared->scan_served);
  while (shared->scans_served.load(std::memory_order_acquire) < number && monotonic_now() < deadline)
    ConditionVariableTimedSleep(&shared->scan_served, kScanPollMs, PG_WAIT_EXTENSION);
  ConditionVariableCancelSleep();

  if (shared->scans_served.load(std::memory_order_acquire) < number)
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("pgleak scanner is not responding"),
             errhint("Look for \"pgleak scanner\" in pg_stat_activity.backend_type and in the server log. "
                     "\"max_worker_processes\" may be too low.")));
}

}  // namespace

void read_stats(ReturnSetInfo* result) {
  const Counters& counters = shared->counters;
  Row row(result);
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.scans)));
  row.add_time(shared->last_scan_at);
  row.add_int64(shared->last_scan_duration.load().us);
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.leaks)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.cancels)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.cancels_failed)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.terminates)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.skipped)));
  row.add_time(shared->paused_until);
  const EventCounts events = event_queue->counts();
  row.add_int64(static_cast<std::int64_t>(events.queued));
  row.add_int64(static_cast<std::int64_t>(events.written));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.events_dropped)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.recorder_errors)));
  add_last_error(&row);
  row.add_time(shared->started_at);
  row.add_bool(shared->is_recording && shared->recorder_proc != kNoProcess);
  row.finish();
}

void read_outcomes(ReturnSetInfo* result) {
  for (int i = static_cast<int>(Outcome::kNone) + 1; i < kOutcomeCount; i++) {
    Row row(result);
    row.add_text(to_string(static_cast<Outcome>(i)));
    row.add_int64(static_cast<std::int64_t>(read_counter(shared->counters.outcomes[i])));
    row.finish();
  }
}

}  // namespace pgleak

Datum pgleak_read_stats(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_stats(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}

Datum pgleak_read_outcomes(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_outcomes(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}

Datum pgleak_request_scan([[maybe_unused]] PG_FUNCTION_ARGS) {
  using namespace pgleak;
  require_preloading();
  const std::uint64_t number = shared->scans_requested.fetch_add(1) + 1;
  wake_worker(shared->scanner_proc);
  wait_for_scan(number);
  PG_RETURN_INT64(static_cast<int64>(shared->open_leaks.load()));
}

Datum pgleak_reset_counters([[maybe_unused]] PG_FUNCTION_ARGS) {
  using namespace pgleak;
  require_preloading();
  Counters& counters = shared->counters;
  std::atomic<std::uint64_t>* const all[] = {
      &counters.scans,      &counters.leaks,   &counters.cancels,        &counters.cancels_failed,
      &counters.terminates, &counters.skipped, &counters.events_dropped, &counters.recorder_errors};
  for (std::atomic<std::uint64_t>* counter : all) counter->store(0, std::memory_order_relaxed);
  for (std::atomic<std::uint64_t>& counter : counters.outcomes) counter.store(0, std::memory_order_relaxed);
  event_queue->count_from_now();
  if (idle_memory != nullptr) idle_memory->resets.fetch_add(1, std::memory_order_relaxed);
  LWLockAcquire(shared->error_lock, LW_EXCLUSIVE);
  shared->last_error = LastError{};
  LWLockRelease(shared->error_lock);
  PG_RETURN_VOID();
}
