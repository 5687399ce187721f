// Owns: the C functions behind the extension's SQL objects (sql/pgleak--*.sql). Called by any session.
// They read shared memory; only pgleak.reset() writes there. Permissions beyond GRANT are checked here.

#include <cstdint>

#include "core/detection.hpp"
#include "core/session.hpp"
#include "server/backend_status.hpp"
#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/encoding.hpp"
#include "server/hand_request.hpp"
#include "server/live_leaks.hpp"
#include "server/postgres.hpp"
#include "server/row.hpp"
#include "server/session_lookup.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"
#include "server/tags_json.hpp"
#include "server/trail_json.hpp"

extern "C" {
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pgleak_read_leaks);
PG_FUNCTION_INFO_V1(pgleak_read_stats);
PG_FUNCTION_INFO_V1(pgleak_read_outcomes);
PG_FUNCTION_INFO_V1(pgleak_request_scan);
PG_FUNCTION_INFO_V1(pgleak_reset_counters);
PG_FUNCTION_INFO_V1(pgleak_cancel_session);
PG_FUNCTION_INFO_V1(pgleak_terminate_session);
}

namespace pgleak {

namespace {

// A scan takes microseconds; this long means that there is no scanner to do it.
constexpr Micros kScanPatience = 10 * kSecond;
constexpr long kScanPollMs = 100;

// As of the scanner's last look, all of it: what it hurts makes sense only together.
void add_harm(Row* row, const Harm& harm) {
  row->add_xid(harm.xid);
  row->add_xid(harm.xmin);
  if (harm.xmin_age < 0)
    row->add_null();
  else
    row->add_int64(harm.xmin_age);
  row->add_int32(harm.locks);
  row->add_int32(harm.blocked);
  row->add_duration(harm.blocked_for);
  row->add_text(to_string(harm.impact));
}

// The columns of pgleak.read_leaks(), in its order.
void add_leak(Row* row, const LiveLeak& leak) {
  const Episode& episode = leak.view.episode;
  const int encoding = episode.who.encoding;
  const bool is_visible = may_see_details(leak.who.role_oid);

  row->add_int64(episode.leak_id);
  row->add_int32(episode.session.pid);
  row->add_foreign_text(episode.who.database, encoding);
  row->add_foreign_text(episode.who.role, encoding);
  row->add_foreign_text(leak.who.application_name, encoding);
  if (!is_visible) {
    row->add_nulls(24);
    row->add_text("<insufficient privilege>");
    row->add_nulls(3);
    return;
  }
  row->add_text(leak.who.client_address[0] != '\0' ? leak.who.client_address : nullptr);
  if (leak.who.client_port == kPortUnknown)
    row->add_null();
  else
    row->add_int32(leak.who.client_port);
  row->add_time(episode.session.backend_start);
  row->add_time(episode.xact_start);
  row->add_text(to_string(leak.entry.state));
  row->add_time(is_idle_in_transaction(leak.entry.state) ? leak.entry.state_start : 0);
  row->add_duration(leak.ages.on[static_cast<int>(Clock::kIdle)]);
  row->add_duration(leak.ages.on[static_cast<int>(Clock::kTransaction)]);
  row->add_text(to_string(episode.clock));
  row->add_time(episode.detected_at);
  row->add_duration(episode.leak_after);
  row->add_text(name_of(episode.limit_source, episode.rule_id).text);
  add_harm(row, leak.view.harm);
  row->add_text(to_string(leak.view.next_action));
  row->add_time(leak.view.next_action_at);
  row->add_text(to_string(episode.action.last));
  row->add_time(episode.action.at);
  row->add_text(to_string(episode.action.result));
  row->add_foreign_text(leak.statement, encoding);
  if (leak.entry.query_id == 0)
    row->add_null();
  else
    row->add_int64(static_cast<std::int64_t>(leak.entry.query_id));
  row->add_jsonb(tags_json(leak.statement, leak.statement_length, encoding));
  row->add_jsonb(trail_json(leak.trail, leak.trail_length, encoding));
}

std::uint64_t read_counter(const std::atomic<std::uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}

void add_last_error(Row* row) {
  LWLockAcquire(shared->error_lock, LW_SHARED);
  const LastError error = shared->last_error;
  LWLockRelease(shared->error_lock);
  if (error.at == 0) {
    row->add_nulls(2);
    return;
  }
  row->add_foreign_text(error.message, GetDatabaseEncoding());
  row->add_time(error.at);
}

// Sleeps until a scan that began after this call has ended.
void wait_for_scan(std::uint64_t number) {
  const MonotonicTime deadline = monotonic_now() + kScanPatience;
  ConditionVariablePrepareToSleep(&shared->scan_served);
  while (shared->scans_served.load(std::memory_order_acquire) < number && monotonic_now() < deadline)
    ConditionVariableTimedSleep(&shared->scan_served, kScanPollMs, PG_WAIT_EXTENSION);
  ConditionVariableCancelSleep();

  if (shared->scans_served.load(std::memory_order_acquire) < number)
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("pgleak scanner does not answer"),
             errhint("Look for \"pgleak scanner\" in pg_stat_activity.backend_type and in the server log; "
                     "\"max_worker_processes\" may be too low.")));
}

}  // namespace

void read_leaks(ReturnSetInfo* result) {
  const ExprContext* context = result->econtext;
  const LiveLeak* leak = live_leaks(context != nullptr ? context->ecxt_estate : nullptr);
  for (; leak != nullptr; leak = leak->next) {
    Row row(result);
    add_leak(&row, *leak);
    row.finish();
  }
}

void read_stats(ReturnSetInfo* result) {
  const Counters& counters = shared->counters;
  Row row(result);
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.scans)));
  row.add_time(shared->last_scan_at);
  row.add_int64(shared->last_scan_duration);
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.leaks)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.cancels)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.cancels_failed)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.terminates)));
  row.add_int64(static_cast<std::int64_t>(read_counter(counters.skipped)));
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

Datum pgleak_read_leaks(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_leaks(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}

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

Datum pgleak_request_scan(PG_FUNCTION_ARGS) {
  using namespace pgleak;
  require_preloading();
  const std::uint64_t number = shared->scans_requested.fetch_add(1) + 1;
  wake_worker(shared->scanner_proc);
  wait_for_scan(number);
  PG_RETURN_INT64(static_cast<int64>(shared->open_leaks.load()));
}

Datum pgleak_reset_counters(PG_FUNCTION_ARGS) {
  using namespace pgleak;
  require_preloading();
  Counters& counters = shared->counters;
  std::atomic<std::uint64_t>* const all[] = {
      &counters.scans,      &counters.leaks,   &counters.cancels,        &counters.cancels_failed,
      &counters.terminates, &counters.skipped, &counters.events_dropped, &counters.recorder_errors};
  for (std::atomic<std::uint64_t>* counter : all) counter->store(0, std::memory_order_relaxed);
  for (std::atomic<std::uint64_t>& counter : counters.outcomes) counter.store(0, std::memory_order_relaxed);
  event_queue->count_from_now();
  LWLockAcquire(shared->error_lock, LW_EXCLUSIVE);
  shared->last_error = LastError{};
  LWLockRelease(shared->error_lock);
  PG_RETURN_VOID();
}

Datum pgleak_cancel_session(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  PG_RETURN_BOOL(pgleak::request_action(PG_GETARG_INT32(0), pgleak::Action::kCancel));
}

Datum pgleak_terminate_session(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  PG_RETURN_BOOL(pgleak::request_action(PG_GETARG_INT32(0), pgleak::Action::kTerminate));
}
