#include "scanner/episodes.hpp"

#include "core/prefetch.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "scanner/actions.hpp"
#include "scanner/leak_log.hpp"
#include "scanner/session_limits.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// Room for one statement, pgstat_track_activity_query_size bytes.
char* statement_buffer = nullptr;

// Which slots have an open episode: a copy of SessionRecord::is_open that a look at all slots can afford to
// read, since the views themselves are a cache miss each.
bool* has_episode = nullptr;

// The position of the process of each open episode in ProcGlobal->allProcs, to have it fetched ahead. 0 for
// those that an earlier scanner has opened.
std::int32_t* proc_of = nullptr;

// One entry of the status array together with what its guest published, taken at the same moment. kBusy also
// if a transaction ended in between: the next look will see it whole.
StatusRead take_sample(int index, StatusEntry* entry, SessionStatus* sample) {
  const BackendSlot& backend = session_slots[index].backend;
  const TransactionReport report = backend.report();
  const StatusRead result = read_status(index, entry);
  if (result != StatusRead::kDone) return result;
  if (backend.report().ended_count != report.ended_count) return StatusRead::kBusy;

  *sample = SessionStatus{entry->id,          entry->state,    entry->xact_start,    entry->state_start,
                          report.ended_count, report.last_end, report.last_end_start};
  return StatusRead::kDone;
}

// When `sample` was taken, as exactly as its clocks need it. What began after the look did must not get the
// look's own age too, and a look may last: the scanner can be preempted in the middle of one. After the wall
// clock was set back the clocks are read in vain.
Now time_of(const SessionStatus& sample, Now scan) {
  const bool has_begun_since = sample.state_start > scan.wall || sample.xact_start > scan.wall;
  return has_begun_since ? read_clocks() : scan;
}

// What a leak hurts at this scan. One that is gone hurts nobody.
ImpactSample measure_impact(int index, SessionId session, const Ages& ages, Now now) {
  BackendOwner owner;
  HeldResources held;
  if (!session_slots[index].backend.read_owner(session, &owner) ||
      !read_held_resources(owner.proc_index, session.pid, &held))
    return kNoImpact;
  return measure(held, now.wall, ages.transaction);
}

void open_episode(int index, const SessionStatus& sample, const TransactionBlock& block,
                  const Detection& found, const Ages& ages, const StatusEntry& entry, Now now) {
  SessionSlot& slot = session_slots[index];
  BackendOwner owner;
  Episode episode{};
  int statement_length = 0;
  if (!slot.backend.read_owner(sample.id, &owner)) return;
  if (!slot.backend.watch(block.xact_seq)) return;  // it has ended while we looked
  if (!read_status_strings(index, sample.id, &episode.who, statement_buffer, pgstat_track_activity_query_size,
                           &statement_length))
    return;

  strlcpy(episode.who.database, owner.database, kNameSize);
  strlcpy(episode.who.role, owner.role, kNameSize);
  episode.who.encoding = owner.encoding;
  episode.leak_id = shared->last_leak_id.fetch_add(1) + 1;
  episode.session = sample.id;
  episode.xact_seq = block.xact_seq;
  episode.xact_start = block.xact_start;
  episode.idle_since = is_idle_in_transaction(sample.state) ? sample.state_start : WallTime::none();
  episode.detected_at = now.wall;
  episode.detected_mono = now.monotonic;
  episode.leak_after = found.limit;
  episode.longest_idle = ages.idle;
  episode.transaction_age = ages.transaction;
  episode.query_id = entry.query_id;
  episode.clock = found.clock;
  episode.limit_source = found.source;
  episode.rule_id = found.rule_id;
  episode.state = sample.state;
  episode.last_state = sample.state;
  episode.worst = measure_impact(index, sample.id, ages, now);

  drop_pending_end(index);
  slot.scanner.write([&episode](SessionRecord* view) {
    view->is_open = true;
    view->episode = episode;
    view->impact_now = episode.worst;
  });
  has_episode[index] = true;
  proc_of[index] = owner.proc_index;
  shared->open_leaks++;
  shared->counters.leaks++;
  log_episode_opened(episode, found.age, statement_buffer);
  queue_event(EventKind::kOpened, index, episode, statement_buffer);
}

void close_episode(int index, Outcome outcome, Now now) {
  SessionSlot& slot = session_slots[index];
  const Episode episode = slot.scanner.current().episode;
  const Ending ending{outcome, now.wall, now.monotonic - episode.detected_mono};
  slot.scanner.write([](SessionRecord* view) { view->is_open = false; });
  has_episode[index] = false;
  shared->open_leaks--;
  shared->counters.outcomes[static_cast<int>(outcome)]++;
  forget_actions(index);
  log_episode_ended(episode, outcome, ending.lasted);
  queue_end(index, ending);
}

// What the status array shows of the backend of an open episode; false if that cannot be told now.
bool trace_backend(int index, const Episode& episode, BackendTrace* trace) {
  StatusEntry entry{};
  *trace = BackendTrace{};
  trace->last_state = episode.last_state;
  switch (take_sample(index, &entry, &trace->sample)) {
    case StatusRead::kBusy:
      return false;
    case StatusRead::kDone:
      trace->is_present = entry.id == episode.session;
      break;
    case StatusRead::kUnused:
      // Gone, and the entry still shows how: nobody else has taken it.
      if (entry.id.backend_start == episode.session.backend_start) trace->last_state = entry.state;
      break;
  }
  return true;
}

// The log and the history need not wait for the end to know of a leak that keeps others waiting.
void report_blocking(int index) {
  const SessionRecord& view = session_slots[index].scanner.current();
  log_episode_blocking(view.episode, view.impact_now);
  queue_event(EventKind::kBlocking, index, view.episode, "");
}

// Reads the clocks of an open episode, and what it hurts, and brings it up to date.
Ages update_episode(int index, const SessionStatus& sample, ScanContext* scan) {
  SessionSlot& slot = session_slots[index];
  SessionClocks watch = slot.scanner.current().watch;
  // Our own rollback gave the session a new state; its client is as silent as before.
  if (slot.scanner.current().episode.is_cancelled &&
      sample.state_start == slot.action.aborted_at.load(std::memory_order_relaxed))
    watch.idle.carry_over(sample.state_start);
  const Ages ages =
      measure_ages(&watch, sample, current_block(sample), time_of(sample, scan->now), scan->previous);
  const ImpactSample impact_now = measure_impact(index, sample.id, ages, scan->now);
  const bool was_blocking = slot.scanner.current().episode.worst.blocked > 0;
  slot.scanner.write([&](SessionRecord* view) {
    const std::optional<Micros> idle = ages.idle;
    const std::optional<Micros> age = ages.transaction;
    view->watch = watch;
    view->episode.last_state = sample.state;
    if (sample.state == SessionState::kIdleInTransactionAborted && !sample.xact_start.is_set())
      view->episode.aborted_since = sample.state_start;
    if (idle > view->episode.longest_idle) view->episode.longest_idle = idle;
    if (age) view->episode.transaction_age = age;
    view->impact_now = impact_now;
    view->episode.worst = worst_of(view->episode.worst, impact_now);
  });
  if (impact_now.blocked > 0 && !was_blocking) report_blocking(index);
  return ages;
}

}  // namespace

bool has_open_episode(int index) { return has_episode[index]; }

const bool* open_episodes() { return has_episode; }

void prefetch_next_episode(int from) {
  const bool* const next = static_cast<const bool*>(
      memchr(has_episode + from, 1, static_cast<std::size_t>(shared->slot_count - from)));
  if (next == nullptr) return;
  const int index = static_cast<int>(next - has_episode);
  prefetch_status(index);
  fetch(&session_slots[index]);
  prefetch_held_resources(proc_of[index]);
}

void follow_episode(int index, ScanContext* scan) {
  SessionSlot& slot = session_slots[index];
  prefetch_next_episode(index + 1);
  // First of all: a session that was rolled back in place says so before its client can end the block.
  continue_action(index, scan);

  BackendTrace trace;
  if (!trace_backend(index, slot.scanner.current().episode, &trace)) return;
  Outcome outcome = judge_open(slot.scanner.current().episode, trace, slot.backend.watched_end());
  // It may have answered since. What it shows of itself while it acts is our own doing.
  if (outcome != Outcome::kNone && has_begun_to_act(index)) {
    scan->next_due_in = Min(scan->next_due_in, kActionPollInterval);
    if (trace.is_present) return;
    continue_action(index, scan);
    outcome = judge_open(slot.scanner.current().episode, trace, slot.backend.watched_end());
  }
  if (outcome != Outcome::kNone) {
    do_within(&scan->records, index, [=] { close_episode(index, outcome, scan->now); });
    return;
  }
  // What a rollback in place does to the session's state is understood only when it has said that it is done.
  if (is_action_running(index)) return;
  const Ages ages = update_episode(index, trace.sample, scan);
  act_if_due(index, trace.sample, ages, scan);
}

void consider_session(int index, ScanContext* scan) {
  SessionSlot& slot = session_slots[index];
  StatusEntry entry{};
  SessionStatus sample{};
  if (take_sample(index, &entry, &sample) != StatusRead::kDone || !entry.is_client_backend) return;
  const TransactionBlock block = current_block(sample);
  if (!block.exists) return;

  SessionClocks watch = slot.scanner.current().watch;
  const Ages ages = measure_ages(&watch, sample, block, time_of(sample, scan->now), scan->previous);
  slot.scanner.write([&watch](SessionRecord* view) { view->watch = watch; });

  Limits limits;
  if (!find_limits(index, entry, ages, scan->server_limits, scan->now.wall, &limits, &scan->next_due_in))
    return;
  const Detection found = detect_leak(ages, limits);
  scan->next_due_in = Min(scan->next_due_in, found.next_due_in);
  if (!found.is_leak) return;
  do_within(&scan->records, index,
            [&] { open_episode(index, sample, block, found, ages, entry, scan->now); });
  if (has_episode[index]) follow_episode(index, scan);  // an action may be due at the same moment
}

void consider_request(int index, ScanContext* scan) {
  if (session_slots[index].manual.phase != ManualRequest::Phase::kAsked) return;
  StatusEntry entry{};
  SessionStatus sample{};
  const StatusRead status = take_sample(index, &entry, &sample);
  if (status == StatusRead::kBusy) return;
  const TransactionBlock block = current_block(sample);
  // Whoever asked meant one transaction of one session, not what has followed it.
  if (status == StatusRead::kUnused || !entry.is_client_backend || !block.exists ||
      !is_asked_for(index, sample.id, block.xact_seq)) {
    refuse_request(index);
    return;
  }
  SessionClocks watch = session_slots[index].scanner.current().watch;
  const Ages ages = measure_ages(&watch, sample, block, time_of(sample, scan->now), scan->previous);
  session_slots[index].scanner.write([&watch](SessionRecord* view) { view->watch = watch; });

  const Clock clock = is_idle_in_transaction(sample.state) ? Clock::kIdle : Clock::kTransaction;
  const Detection asked{true, clock,   ages.of(clock).value_or(Micros{0}), kNever, LimitSource::kManual,
                        0,    kForever};
  open_episode(index, sample, block, asked, ages, entry, scan->now);
  if (has_episode[index]) follow_episode(index, scan);
}

// Episodes themselves outlive a scanner that is restarted.
void prepare_episodes() {
  prepare_leak_log();
  prepare_actions();
  prepare_pending_ends();
  prepare_session_limits();
  statement_buffer = static_cast<char*>(
      MemoryContextAlloc(TopMemoryContext, static_cast<Size>(pgstat_track_activity_query_size)));
  has_episode = static_cast<bool*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(shared->slot_count) * sizeof(bool)));
  proc_of = static_cast<std::int32_t*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(shared->slot_count) * sizeof(std::int32_t)));
  for (int i = 0; i < shared->slot_count; i++) has_episode[i] = session_slots[i].scanner.current().is_open;
}

}  // namespace pgleak
