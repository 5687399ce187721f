// The scanner: a background worker that reads all sessions, decides about each, and logs and queues the
// result.
//
// The postmaster starts it. It connects to no database and touches no catalog, no table and no file on disk,
// so nothing there can block it: only shared memory, the log, and what the kernel says of processes and
// sockets. scanner/README.md shows the way of a session through one scan.

#include <cstdint>

#include "core/decision.hpp"
#include "core/limits.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/injection.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "pgleak.hpp"
#include "scanner/apply.hpp"
#include "scanner/effects.hpp"
#include "scanner/holders.hpp"
#include "scanner/pools.hpp"
#include "scanner/prepared.hpp"
#include "scanner/scan_context.hpp"
#include "scanner/session_reader.hpp"
#include "scanner/tracked_session.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "postmaster/bgworker.h"

PGDLLEXPORT void pgleak_scanner_main(Datum argument);
}

namespace pgleak {

namespace {

// Expensive work, mostly log lines, is charged to the budget of its kind.
void apply_within_budget(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision,
                         ScanContext* scan) {
  const bool is_record =
      decision.episode == Decision::EpisodeStep::kOpen || decision.episode == Decision::EpisodeStep::kClose;
  const bool is_action =
      decision.step == Decision::ActionStep::kBegin || decision.step == Decision::ActionStep::kDryRun;
  const MonotonicTime began = is_record || is_action ? monotonic_now() : MonotonicTime{};
  apply(session, snapshot, decision, scan);
  if (is_record) scan->budgets.records.spend(monotonic_now() - began);
  if (is_action && !decision.is_manual) scan->budgets.actions.spend(monotonic_now() - began);
}

// Decides, reads more where the decision asks for it, and applies. Returns true if the session has more for
// this scan, such as a finished action or an episode that has just opened or ended.
bool decide_and_apply(TrackedSession session, SessionSnapshot* snapshot, ScanContext* scan) {
  for (;;) {
    const Decision decision = decide(*snapshot, session.open_episode(), scan->inputs, &scan->budgets);
    if (!decision.needs_more()) {
      apply_within_budget(session, *snapshot, decision, scan);
      return decision.decide_again;
    }
    if (!read_more(session, decision, snapshot)) return false;
  }
}

// A session that needs more than a few rounds changes faster than it can be read.
void process_session(TrackedSession session, ScanContext* scan) {
  constexpr int kMostRounds = 5;
  for (int round = 0; round < kMostRounds; round++) {
    SessionSnapshot snapshot;
    if (!read_session(session, *scan, &snapshot)) return;
    if (!decide_and_apply(session, &snapshot, scan)) return;
  }
}

void scan_sessions(int from, int to, ScanContext* scan) {
  const auto next = [to, scan](int after) {
    return next_candidate(after, to, scan->watches_transactions, session_marks());
  };
  prefetch_next_episode(from);
  // Once the server stops, sessions disappear because of that, not because their clients left.
  for (int i = next(from); i < to && !worker_should_stop(); i = next(i + 1)) {
    if (open_episodes()[i]) prefetch_next_episode(i + 1);
    process_session(TrackedSession(i), scan);
  }
}

// Serves requests for sessions without an open episode; the others are served as part of their episode.
void serve_manual_requests(ScanContext* scan) {
  if (shared->manual_requests.load(std::memory_order_acquire) == 0) return;
  for (int i = 0; i < shared->slot_count; i++) {
    const TrackedSession session(i);
    if (session.manual_request().phase == ManualRequest::Phase::kAsked && !session.record().is_open)
      process_session(session, scan);
  }
}

int first_deferred_slot(const Budgets& budgets) {
  if (budgets.records.has_deferred()) return budgets.records.first_deferred();
  return budgets.actions.has_deferred() ? budgets.actions.first_deferred() : 0;
}

// For pgleak.limits_for(), whose own session may have other values than the server.
void publish_server_limits(const LimitValues& limits) {
  for (int i = 0; i < kLimitCount; i++)
    shared->server_limits[i].store(limits.value[i], std::memory_order_relaxed);
}

// For pgleak.stats.
void publish_pause(const ScanContext& scan) {
  const RateLimiter& rate = scan.budgets.rate;
  const bool is_closed = rate.is_closed(scan.inputs.max_actions_per_minute, scan.now.monotonic);
  shared->paused_until =
      is_closed ? scan.now.wall + (rate.closed_until - scan.now.monotonic) : WallTime::none();
}

// The id is read before the time, so it had been assigned by then.
void sample_xid_clock(MonotonicTime now) {
  if (!shared->xid_clock.current().is_due(now)) return;
  XidSample sample;
  sample.next_xid = compat::next_full_transaction_id();
  sample.at = monotonic_now();
  shared->xid_clock.write([sample](XidClock* clock) { clock->add(sample); });
}

// What one scan passes to the next.
struct Progress {
  PreviousScan previous;  // as of the last scan that deferred nothing
  int first_slot;         // where the next scan starts: with the deferred work, so that nothing waits forever
  Budgets budgets;
};

ScanContext begin_scan(const Progress& progress) {
  ScanContext scan{};
  const RuleSet& rules = refresh_rules();
  scan.now = read_clocks();
  stop_at("scan");
  scan.inputs =
      ScanInputs{current_limits(),           current_action_min_impact(), &rules,
                 rules_are_published(),      progress.previous,           settings.dry_run,
                 settings.act_on_superusers, settings.act_on_declared,    settings.max_actions_per_minute};
  publish_server_limits(scan.inputs.server_limits);
  scan.budgets = progress.budgets;
  scan.budgets.records = TimeBudget{};
  scan.budgets.actions = TimeBudget{};
  scan.watches_transactions = uses_transaction_clock(scan.inputs.server_limits) ||
                              rules.uses_transaction_clock ||
                              shared->own_transaction_limits.load(std::memory_order_relaxed);
  scan.next_due_in = from_milliseconds(settings.scan_interval);
  return scan;
}

// Runs one scan. Returns the time until the next one is due.
Micros run_scan(Progress* progress) {
  Assert(is_scanner());
  const std::uint64_t requested = shared->scans_requested.load(std::memory_order_acquire);
  ScanContext scan = begin_scan(*progress);
  forget_lock_waits(observe_replay(scan));
  find_holders(&scan);
  scan_sessions(progress->first_slot, shared->slot_count, &scan);
  scan_sessions(0, progress->first_slot, &scan);
  scan_prepared(&scan);
  sample_effects(scan.now.monotonic);
  serve_manual_requests(&scan);
  queue_pending_ends();
  sample_pools(scan);
  sample_xid_clock(scan.now.monotonic);
  scan.next_due_in = Min(scan.next_due_in, next_poll_for_waiters(scan));
  publish_pause(scan);

  shared->counters.scans++;
  shared->last_scan_at = scan.now.wall;
  const Micros duration = monotonic_now() - scan.now.monotonic;
  shared->last_scan_duration = duration;
  progress->budgets = scan.budgets;
  progress->first_slot = first_deferred_slot(scan.budgets);
  if (scan.has_deferred()) return Micros{0};
  progress->previous.at_idle = scan.now.monotonic;
  progress->previous.at_transaction = scan.watches_transactions ? scan.now.monotonic : MonotonicTime::none();
  if (shared->scans_served.exchange(requested) != requested) ConditionVariableBroadcast(&shared->scan_served);
  return scan.next_due_in - duration;
}

// The scanner's main loop, from start to SIGTERM.
void run_scanner() {
  const std::uint32_t wait_event = compat::new_wait_event("PgleakScanner");

  warn_about_contradictory_limits();

  Progress progress{};
  while (!worker_should_stop()) {
    while (times_another_scan()) run_scan(&progress);
    const Micros next_due_in = run_scan(&progress);
    if (sleep_worker(next_due_in, wait_event)) warn_about_contradictory_limits();
  }
}

}  // namespace

void install_scanner() { register_worker("pgleak scanner", "pgleak_scanner_main"); }

void scanner_main() {
  shared->former_scanner_pid = shared->scanner_pid.load();
  shared->scanner_pid = MyProcPid;
  start_worker(&shared->scanner_proc);
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  prepare_lock_waits();
  prepare_tracked_sessions();
  prepare_session_reader();
  prepare_apply();
  prepare_prepared();
  prepare_effects();
  prepare_pools();
  run_scanner();
  exit_worker();
}

}  // namespace pgleak

void pgleak_scanner_main(Datum) { pgleak::scanner_main(); }
