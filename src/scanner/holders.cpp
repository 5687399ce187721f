#include "scanner/holders.hpp"

#include "core/blocking_watch.hpp"
#include "pg/compat.hpp"
#include "pg/lock_table.hpp"
#include "pg/lock_waits.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_proc.hpp"
#include "pg/replay_conflict.hpp"
#include "scanner/prepared.hpp"
#include "scanner/session_reader.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

namespace {

// While nobody waits, reading every process this often costs nothing that can be measured.
constexpr Micros kWaiterInterval = 500 * kMillisecond;

constexpr Micros kStalledInterval = kSecond;

// Scans come slightly early.
constexpr Micros kTolerance = 5 * kMillisecond;

MonotonicTime waiters_looked_for_at;
MonotonicTime waiters_seen_at;
MonotonicTime stalled_looked_for_at;

bool is_waiting_lately(MonotonicTime now) {
  return waiters_seen_at.is_set() && now - waiters_seen_at < kBlockingGap;
}

void mark_roots() {
  WaitGraph& graph = current_lock_waits()->graph();
  for (int i = graph.next_root(0); i >= 0; i = graph.next_root(i + 1)) {
    const int place = prepared_place_of(i);
    if (place >= 0) {
      mark_prepared_root(place);
      continue;
    }
    const int index = compat::status_index_of(&ProcGlobal->allProcs[i]);
    if (index >= 0 && index < shared->slot_count) mark_root(index);
  }
}

void look_for_waiters(ScanContext* scan) {
  const MonotonicTime now = scan->now.monotonic;
  waiters_looked_for_at = now;
  const bool is_any = is_anyone_waiting();
  scan->has_waiters = is_any;
  begin_marking_roots(is_any);
  begin_marking_prepared_roots();
  if (!is_any) return;
  mark_roots();
  waiters_seen_at = now;
}

// A session that LISTENs may wait for its client while it is idle.
bool may_be_stalled(int index) {
  if (is_idle_with_transaction(index)) return true;
  const StateHint hint = state_hint(index);
  if (hint == StateHint::kIdleInTransaction) return false;
  if (hint == StateHint::kNothing && !session_slot(index).backend.listens()) return false;
  StatusEntry entry{};
  BackendOwner owner;
  if (read_status(index, &entry) != StatusRead::kDone) return false;
  if (!session_slot(index).backend.read_owner(entry.id, &owner)) return false;
  const SessionWait wait = read_wait(owner.proc_index);
  if (wait == SessionWait::kClientWrite) return true;
  // An idle session waits for the next statement. One with a leak may only have been woken for a moment.
  if (hint == StateHint::kNothing) return TrackedSession(index).open_episode() != nullptr;
  return wait == SessionWait::kClientRead;
}

void mark_stalled(MonotonicTime now) {
  stalled_looked_for_at = now;
  clear_marks(Mark::kStalled);
  for (int i = 0; i < shared->slot_count; i++)
    if (may_be_stalled(i)) mark_session(i, Mark::kStalled);
}

bool is_due(MonotonicTime last, Micros interval, MonotonicTime now) {
  return !last.is_set() || now - last >= interval - kTolerance;
}

}  // namespace

// Survives the scanner, as everything that measures a time.
ReplayWait observe_replay(const ScanContext& scan) {
  const ReplayWatch& known = shared->replay.current();
  const ReplayConflict seen = find_waiting_replay().conflict;
  if (seen == ReplayConflict::kNone && known.wait.conflict == ReplayConflict::kNone) return known.wait;
  const std::uint32_t oldest = oldest_snapshot_xmin();
  shared->replay.write([&](ReplayWatch* watch) { watch->observe(seen, oldest, scan.now); });
  return known.wait;
}

void find_holders(ScanContext* scan) {
  const MonotonicTime now = scan->now.monotonic;
  forget_roots();
  forget_prepared_roots();
  const Micros interval =
      is_waiting_lately(now) || shared->open_leaks > 0 ? kWaiterPollInterval : kWaiterInterval;
  if (is_due(waiters_looked_for_at, interval, now)) look_for_waiters(scan);
  if (is_due(stalled_looked_for_at, kStalledInterval, now)) mark_stalled(now);
}

Micros next_poll_for_waiters(const ScanContext& scan) {
  if (scan.is_anything_locked || is_waiting_lately(scan.now.monotonic)) return kWaiterPollInterval;
  return kForever;
}

}  // namespace pgleak
