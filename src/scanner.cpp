// Owns: the scanner, the background worker that looks at all sessions, opens and closes episodes, logs
// them and queues them for the recorder. Started by the postmaster; connected to no database.
// Must touch nothing but shared memory: no catalog, no table, no file. Nothing on disk can stop it.

#include <cstdint>

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "episodes.hpp"
#include "late_ends.hpp"
#include "look.hpp"
#include "pgleak.hpp"
#include "pools.hpp"
#include "server/backend_status.hpp"
#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/injection.hpp"
#include "server/lock_waits.hpp"
#include "server/postgres.hpp"
#include "server/session_limits.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"
#include "server/worker.hpp"

extern "C" {
#include "postmaster/bgworker.h"

PGDLLEXPORT void pgleak_scanner_main(Datum argument);
}

namespace pgleak {

namespace {

void look_at_sessions(int from, int to, Look* look) {
  const auto next = [to, look](int after) {
    return next_at_a_glance(after, to, look->watches_transactions, open_episodes());
  };
  fetch_next_episode(from);
  for (int i = next(from); i < to; i = next(i + 1)) {
    if (has_open_episode(i)) {
      follow_episode(i, look);
      // Once it is over the session may be in its next transaction already, which this look must not miss.
      if (has_open_episode(i)) continue;
    }
    const Glance glance = glance_at(i);
    if (glance == Glance::kIdleInTransaction || (glance == Glance::kActive && look->watches_transactions))
      consider_session(i, look);
  }
}

// Requests by hand for sessions with an open episode are served while that is followed; these are the others.
void serve_requests(Look* look) {
  if (shared->hand_requests.load(std::memory_order_acquire) == 0) return;
  for (int i = 0; i < shared->slot_count; i++)
    if (!has_open_episode(i)) consider_request(i, look);
}

int first_slot_left(const Look& look) {
  if (look.records.has_left_work()) return look.records.first_left();
  return look.actions.has_left_work() ? look.actions.first_left() : 0;
}

// For pgleak.limits_for(): the values of its own session need not be the server's.
void publish_server_limits(const LimitValues& limits) {
  for (int i = 0; i < kLimitCount; i++)
    shared->server_limits[i].store(limits.value[i], std::memory_order_relaxed);
}

// What one look hands on to the next.
struct Progress {
  PreviousLook previous;  // as of the last look that left no work
  int first_slot;         // where the next one begins: with what was left, so that nothing is left for ever
};

// One look; returns the time until the next one is due.
Micros scan(Progress* progress) {
  const std::uint64_t requested = shared->scans_requested.load(std::memory_order_acquire);
  refresh_rules();
  Look look{};
  look.now = read_clocks();
  stop_at("look");
  look.server_limits = current_limits();
  publish_server_limits(look.server_limits);
  look.watches_transactions = uses_transaction_clock(look.server_limits) || rules_use_transaction_clock() ||
                              shared->own_transaction_limits.load(std::memory_order_relaxed);
  look.previous = progress->previous;
  look.next_due_in = settings.scan_interval * kMillisecond;

  forget_lock_waits();
  look_at_sessions(progress->first_slot, shared->slot_count, &look);
  look_at_sessions(0, progress->first_slot, &look);
  serve_requests(&look);
  hand_over_late_ends();
  sample_pools(look);

  shared->counters.scans++;
  shared->last_scan_at = look.now.wall;
  const Micros duration = monotonic_now() - look.now.monotonic;
  shared->last_scan_duration = duration;
  progress->first_slot = first_slot_left(look);
  if (look.has_left_work()) return 0;
  progress->previous.at_idle = look.now.monotonic;
  progress->previous.at_transaction = look.watches_transactions ? look.now.monotonic : 0;
  if (shared->scans_served.exchange(requested) != requested) ConditionVariableBroadcast(&shared->scan_served);
  return look.next_due_in - duration;
}

// The scanner's life, from its start to SIGTERM.
void run_scanner() {
  const std::uint32_t wait_event = compat::new_wait_event("PgleakScanner");

  warn_about_contradictory_limits();

  Progress progress{};
  while (!worker_should_stop()) {
    while (times_another_look()) scan(&progress);
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
