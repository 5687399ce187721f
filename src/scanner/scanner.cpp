// Owns: the scanner, the background worker that looks at all sessions, opens and closes episodes, logs
// them and queues them for the recorder. Started by the postmaster; connected to no database.
// Must touch nothing but shared memory: no catalog, no table, no file. Nothing on disk can stop it.

#include <cstdint>

#include "core/detection.hpp"
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
#include "scanner/episodes.hpp"
#include "scanner/pools.hpp"
#include "scanner/scan_context.hpp"
#include "scanner/session_limits.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "postmaster/bgworker.h"

PGDLLEXPORT void pgleak_scanner_main(Datum argument);
}

namespace pgleak {

namespace {

void scan_sessions(int from, int to, ScanContext* scan) {
  const auto next = [to, scan](int after) {
    return next_candidate(after, to, scan->watches_transactions, open_episodes());
  };
  prefetch_next_episode(from);
  for (int i = next(from); i < to; i = next(i + 1)) {
    if (has_open_episode(i)) {
      follow_episode(i, scan);
      // Once it is over the session may be in its next transaction already, which this look must not miss.
      if (has_open_episode(i)) continue;
    }
    const StateHint glance = state_hint(i);
    if (glance == StateHint::kIdleInTransaction ||
        (glance == StateHint::kActive && scan->watches_transactions))
      consider_session(i, scan);
  }
}

// Requests by hand for sessions with an open episode are served while that is followed; these are the others.
void serve_requests(ScanContext* scan) {
  if (shared->manual_requests.load(std::memory_order_acquire) == 0) return;
  for (int i = 0; i < shared->slot_count; i++)
    if (!has_open_episode(i)) consider_request(i, scan);
}

int first_deferred_slot(const ScanContext& scan) {
  if (scan.records.has_deferred()) return scan.records.first_deferred();
  return scan.actions.has_deferred() ? scan.actions.first_deferred() : 0;
}

// For pgleak.limits_for(): the values of its own session need not be the server's.
void publish_server_limits(const LimitValues& limits) {
  for (int i = 0; i < kLimitCount; i++)
    shared->server_limits[i].store(limits.value[i], std::memory_order_relaxed);
}

// What one look hands on to the next.
struct Progress {
  PreviousScan previous;  // as of the last look that left no work
  int first_slot;         // where the next one begins: with what was left, so that nothing is left for ever
};

// One look; returns the time until the next one is due.
Micros scan(Progress* progress) {
  const std::uint64_t requested = shared->scans_requested.load(std::memory_order_acquire);
  refresh_rules();
  ScanContext scan{};
  scan.now = read_clocks();
  stop_at("look");
  scan.server_limits = current_limits();
  publish_server_limits(scan.server_limits);
  scan.watches_transactions = uses_transaction_clock(scan.server_limits) || rules_use_transaction_clock() ||
                              shared->own_transaction_limits.load(std::memory_order_relaxed);
  scan.previous = progress->previous;
  scan.next_due_in = from_milliseconds(settings.scan_interval);

  forget_lock_waits();
  scan_sessions(progress->first_slot, shared->slot_count, &scan);
  scan_sessions(0, progress->first_slot, &scan);
  serve_requests(&scan);
  queue_pending_ends();
  sample_pools(scan);

  shared->counters.scans++;
  shared->last_scan_at = scan.now.wall;
  const Micros duration = monotonic_now() - scan.now.monotonic;
  shared->last_scan_duration = duration;
  progress->first_slot = first_deferred_slot(scan);
  if (scan.has_deferred()) return Micros{0};
  progress->previous.at_idle = scan.now.monotonic;
  progress->previous.at_transaction = scan.watches_transactions ? scan.now.monotonic : MonotonicTime::none();
  if (shared->scans_served.exchange(requested) != requested) ConditionVariableBroadcast(&shared->scan_served);
  return scan.next_due_in - duration;
}

// The scanner's life, from its start to SIGTERM.
void run_scanner() {
  const std::uint32_t wait_event = compat::new_wait_event("PgleakScanner");

  warn_about_contradictory_limits();

  Progress progress{};
  while (!worker_should_stop()) {
    while (times_another_scan()) scan(&progress);
    const Micros next_due_in = scan(&progress);
    if (sleep_worker(next_due_in, wait_event)) warn_about_contradictory_limits();
  }
}

}  // namespace

void install_scanner() { register_worker("pgleak scanner", "pgleak_scanner_main"); }

void scanner_main() {
  start_worker(&shared->scanner_proc);
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  prepare_lock_waits();
  prepare_episodes();
  prepare_pools();
  run_scanner();
  exit_worker();
}

}  // namespace pgleak

void pgleak_scanner_main(Datum) { pgleak::scanner_main(); }
