// Owns: the scanner, the background worker that looks at all sessions, opens and closes episodes, logs
// them and queues them for the recorder. Started by the postmaster; connected to no database.
// Must touch nothing but shared memory: no catalog, no table, no file. Nothing on disk can stop it.

#include <cstdint>

#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "pgleak.hpp"
#include "server/backend_status.hpp"
#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/leak_log.hpp"
#include "server/postgres.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"
#include "server/worker.hpp"

extern "C" {
#include "postmaster/bgworker.h"
#include "utils/memutils.h"

PGDLLEXPORT void pgleak_scanner_main(Datum argument);
}

namespace pgleak {

namespace {

// What one look needs to know, read once at its beginning.
struct Look {
  Now now;
  LimitValues server_limits;
  bool watches_transactions;  // look at active sessions too
  PreviousLook previous;
  Micros next_due_in;  // out: earliest limit that some session will meet
};

// Room for one statement, pgstat_track_activity_query_size bytes.
char* statement_buffer = nullptr;

// Which slots have an open episode: a copy of ScannerView::is_open that a look at all slots can afford to
// read, since the views themselves are a cache miss each.
bool* has_episode = nullptr;

// One entry of the status array together with what its guest published, taken at the same moment. kBusy also
// if a transaction ended in between: the next look will see it whole.
StatusRead take_sample(int index, StatusEntry* entry, SessionSample* sample) {
  const GuestSlot& guest = session_slots[index].guest;
  const TransactionReport report = guest.report();
  const StatusRead result = read_status(index, entry);
  if (result != StatusRead::kDone) return result;
  if (guest.report().ended_count != report.ended_count) return StatusRead::kBusy;

  *sample = SessionSample{entry->id,          entry->state,    entry->xact_start,    entry->state_start,
                          report.ended_count, report.last_end, report.last_end_start};
  return StatusRead::kDone;
}

void queue_event(EventKind kind, const Episode& episode, const char* statement, Outcome outcome, Now now) {
  Event* event = event_queue->start_put();
  if (event == nullptr) {
    shared->counters.events_dropped++;
    return;
  }
  event->kind = kind;
  event->outcome = outcome;
  event->ended_at = kind == EventKind::kEnded ? now.wall : 0;
  event->lasted = kind == EventKind::kEnded ? now.monotonic - episode.detected_on : 0;
  event->episode = episode;
  event->statement_length = static_cast<std::int32_t>(
      strlcpy(event->statement(), statement, static_cast<std::size_t>(pgstat_track_activity_query_size)));
  event_queue->finish_put();
  shared->counters.events_queued++;
  wake_worker(shared->recorder_proc);
}

void open_episode(int index, const SessionSample& sample, const Block& block, const Detection& found,
                  const Ages& ages, const StatusEntry& entry, Now now) {
  SessionSlot& slot = session_slots[index];
  GuestOwner owner;
  Episode episode{};
  int statement_length = 0;
  if (!slot.guest.read_owner(sample.id, &owner)) return;
  if (!slot.guest.watch(block.generation)) return;  // it has ended while we looked
  if (!read_status_strings(index, sample.id, &episode.who, statement_buffer, pgstat_track_activity_query_size,
                           &statement_length))
    return;

  strlcpy(episode.who.database, owner.database, kNameSize);
  strlcpy(episode.who.role, owner.role, kNameSize);
  episode.who.encoding = owner.encoding;
  episode.leak_id = shared->last_leak_id.fetch_add(1) + 1;
  episode.session = sample.id;
  episode.generation = block.generation;
  episode.xact_start = block.xact_start;
  episode.idle_since = is_idle_in_transaction(sample.state) ? sample.state_start : 0;
  episode.detected_at = now.wall;
  episode.detected_on = now.monotonic;
  episode.leak_after = found.limit;
  episode.longest_idle = ages.on[static_cast<int>(Clock::kIdle)];
  episode.transaction_age = ages.on[static_cast<int>(Clock::kTransaction)];
  episode.query_id = entry.query_id;
  episode.clock = found.clock;
  episode.limit_source = found.source;
  episode.state = sample.state;
  episode.last_state = sample.state;

  slot.scanner.write([&episode](ScannerView* view) {
    view->is_open = true;
    view->episode = episode;
  });
  has_episode[index] = true;
  shared->open_leaks++;
  shared->counters.leaks++;
  log_episode_opened(episode, found.age, statement_buffer);
  queue_event(EventKind::kOpened, episode, statement_buffer, Outcome::kNone, now);
}

void close_episode(int index, Outcome outcome, Now now) {
  SessionSlot& slot = session_slots[index];
  const Episode episode = slot.scanner.current().episode;
  slot.scanner.write([](ScannerView* view) { view->is_open = false; });
  has_episode[index] = false;
  shared->open_leaks--;
  log_episode_ended(episode, outcome, now.monotonic - episode.detected_on);
  queue_event(EventKind::kEnded, episode, "", outcome, now);
}

// Follows the open episode of slot `index`: closes it if it is over, else brings its ages up to date.
void follow_episode(int index, Look* look) {
  SessionSlot& slot = session_slots[index];
  const Episode& episode = slot.scanner.current().episode;

  StatusEntry entry{};
  BackendTrace trace{};
  trace.last_state = episode.last_state;
  switch (take_sample(index, &entry, &trace.sample)) {
    case StatusRead::kBusy:
      return;
    case StatusRead::kDone:
      trace.is_present = entry.id == episode.session;
      break;
    case StatusRead::kUnused:
      // Gone, and the entry still shows how: nobody else has taken it.
      if (entry.id.backend_start == episode.session.backend_start) trace.last_state = entry.state;
      break;
  }

  const Outcome outcome = judge_open(episode, trace, slot.guest.watched_end());
  if (outcome != Outcome::kNone) {
    close_episode(index, outcome, look->now);
    return;
  }

  const Block block = current_block(trace.sample);
  SessionWatch watch = slot.scanner.current().watch;
  const Ages ages = read_clocks(&watch, trace.sample, block, look->now, look->previous);
  slot.scanner.write([&](ScannerView* view) {
    const Micros idle = ages.on[static_cast<int>(Clock::kIdle)];
    const Micros age = ages.on[static_cast<int>(Clock::kTransaction)];
    view->watch = watch;
    view->episode.last_state = trace.sample.state;
    if (idle > view->episode.longest_idle) view->episode.longest_idle = idle;
    if (age != kNotSet) view->episode.transaction_age = age;
  });
}

// Decides whether the session of slot `index`, which has no open episode, has become a leak.
void consider_session(int index, Look* look) {
  SessionSlot& slot = session_slots[index];
  StatusEntry entry{};
  SessionSample sample{};
  if (take_sample(index, &entry, &sample) != StatusRead::kDone || !entry.is_client_backend) return;
  const Block block = current_block(sample);
  if (!block.exists) return;

  SessionWatch watch = slot.scanner.current().watch;
  const Ages ages = read_clocks(&watch, sample, block, look->now, look->previous);
  slot.scanner.write([&watch](ScannerView* view) { view->watch = watch; });

  const Limits limits = resolve_limits(slot.guest.own_limits(), look->server_limits);
  const Detection found = detect_leak(ages, limits);
  if (found.is_leak)
    open_episode(index, sample, block, found, ages, entry, look->now);
  else if (found.next_due_in < look->next_due_in)
    look->next_due_in = found.next_due_in;
}

void look_at_all_sessions(Look* look) {
  const int slots = shared->slot_count;
  for (int i = 0; i < slots; i++) {
    if (has_episode[i]) {
      follow_episode(i, look);
      // Once it is over the session may be in its next transaction already, which this look must not miss.
      if (has_episode[i]) continue;
    }
    const Glance glance = glance_at(i);
    if (glance == Glance::kIdleInTransaction || (glance == Glance::kActive && look->watches_transactions))
      consider_session(i, look);
  }
}

// One look; returns the time until the next one is due.
Micros scan(PreviousLook* previous) {
  const std::uint64_t requested = shared->scans_requested.load(std::memory_order_acquire);
  Look look{};
  look.now = read_clocks();
  look.server_limits = current_limits();
  look.watches_transactions = uses_transaction_clock(look.server_limits) ||
                              shared->own_transaction_limits.load(std::memory_order_relaxed);
  look.previous = *previous;
  look.next_due_in = settings.scan_interval * kMillisecond;

  look_at_all_sessions(&look);

  previous->at_idle = look.now.monotonic;
  previous->at_transaction = look.watches_transactions ? look.now.monotonic : 0;
  shared->counters.scans++;
  shared->last_scan_at = look.now.wall;
  const Micros duration = monotonic_now() - look.now.monotonic;
  shared->last_scan_duration = duration;
  if (shared->scans_served.exchange(requested) != requested) ConditionVariableBroadcast(&shared->scan_served);
  return look.next_due_in - duration;
}

// Memory of this process. Episodes themselves outlive a scanner that is restarted.
void prepare_scanner() {
  prepare_leak_log();
  statement_buffer = static_cast<char*>(
      MemoryContextAlloc(TopMemoryContext, static_cast<Size>(pgstat_track_activity_query_size)));
  has_episode = static_cast<bool*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(shared->slot_count) * sizeof(bool)));
  for (int i = 0; i < shared->slot_count; i++) has_episode[i] = session_slots[i].scanner.current().is_open;
}

// The scanner's life, from its start to SIGTERM.
void run_scanner() {
  const std::uint32_t wait_event = compat::new_wait_event("PgleakScanner");

  PreviousLook previous{};
  while (!worker_should_stop()) {
    const Micros next_due_in = scan(&previous);
    sleep_worker(next_due_in, wait_event);
  }
}

}  // namespace

void install_scanner() { register_worker("pgleak scanner", "pgleak_scanner_main"); }

void scanner_main() {
  start_worker(&shared->scanner_proc);
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  prepare_scanner();
  run_scanner();
  exit_worker();
}

}  // namespace pgleak

void pgleak_scanner_main(Datum) { pgleak::scanner_main(); }
