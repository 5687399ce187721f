#include "scanner/apply.hpp"

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "scanner/actions.hpp"
#include "scanner/leak_log.hpp"
#include "shmem/event_queue.hpp"

namespace pgleak {

namespace {

// Number of slots whose end did not fit into the queue. Usually 0, which saves each scan the search.
int pending_count = 0;

bool has_pending_end(TrackedSession session) {
  return session.record().pending_end.outcome != Outcome::kNone;
}

void set_pending_end(TrackedSession session, const Ending& ending) {
  session.update([&ending](SessionRecord* record) { record->pending_end = ending; });
}

bool find_prepared(TrackedSession session, const Ending& ending, PreparedBySession* prepared) {
  return ending.outcome == Outcome::kPrepared &&
         read_prepared_by(session.index(), session.record().episode.xact_seq, prepared);
}

// The end of a session that has prepared its transaction says what the transaction is called now.
bool put_end(TrackedSession session, const Ending& ending) {
  PreparedBySession prepared;
  const char* const gid = find_prepared(session, ending, &prepared) ? prepared.gid : "";
  return put_event(EventKind::kEnded, session.index(), session.record().episode, gid, ending);
}

// A lost end would leave the row in the history open, which is worse than no row, so the end waits in its
// slot until the queue has room.
void queue_end(TrackedSession session, const Ending& ending) {
  // It must not overtake the pending ends, which are older.
  if (pending_count == 0 && put_end(session, ending)) return;
  set_pending_end(session, ending);
  pending_count++;
}

// The slot is about to get another episode, so an end still pending there is dropped and counted. That
// happens only if the queue stays full until a session of the same slot leaks again.
void drop_pending_end(TrackedSession session) {
  if (pending_count == 0 || !has_pending_end(session)) return;
  if (!put_end(session, session.record().pending_end)) shared->counters.events_dropped++;
  set_pending_end(session, Ending{});
  pending_count--;
}

Episode make_episode(const SessionSnapshot& snapshot, const Decision& decision) {
  const SessionStatus& status = snapshot.status;
  Episode episode{};
  episode.leak_id = shared->last_leak_id.fetch_add(1) + 1;
  episode.session = status.id;
  episode.xact_seq = current_seq(status);
  episode.is_session_level = decision.is_session_level;
  episode.who = snapshot.details->who;
  episode.xact_start = decision.block.xact_start;
  episode.idle_since = is_active(status.state) ? WallTime::none() : status.state_start;
  episode.detected_at = snapshot.now.wall;
  episode.detected_mono = snapshot.now.monotonic;
  episode.leak_after = decision.detection.limit;
  episode.query_id = snapshot.query_id;
  episode.clock = decision.detection.clock;
  episode.limit_source = decision.detection.source;
  episode.rule_id = decision.detection.rule_id;
  episode.state = status.state;
  episode.wait_event = snapshot.details->wait_event;
  episode.progress.last_state = status.state;
  episode.progress.longest_idle = decision.ages.idle;
  episode.progress.transaction_age = decision.ages.transaction;
  episode.progress.worst = decision.impact;
  return episode;
}

void note_contention(TrackedSession session, const SessionSnapshot& snapshot) {
  if (snapshot.contention != nullptr)
    session.note_contention(session.record().episode.leak_id, *snapshot.contention);
}

void open_episode(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision) {
  if (!session.watch(current_seq(snapshot.status))) return;  // it has ended in the meantime
  const Episode episode = make_episode(snapshot, decision);
  drop_pending_end(session);
  session.open(episode, decision.impact, snapshot.details->proc_index);
  note_contention(session, snapshot);
  shared->counters.leaks++;
  TagText text;
  Tags tags;
  read_episode_tags(session.index(), episode, snapshot.details->statement, &text);
  read_tags(text, &tags);
  log_episode_opened(episode, decision.detection.age, snapshot.details->statement, tags);
  queue_event(EventKind::kOpened, session.index(), episode, snapshot.details->statement);
}

void close_episode(TrackedSession session, Outcome outcome, Now now) {
  const Ending ending{outcome, now.wall, now.monotonic - session.record().episode.detected_mono};
  PreparedBySession prepared{};
  // PREPARE TRANSACTION may have given it the id by which its prepared transaction is known.
  if (find_prepared(session, ending, &prepared))
    session.update([&prepared](SessionRecord* record) { record->episode.progress.worst.xid = prepared.xid; });
  const Episode episode = session.record().episode;
  session.close(ending);
  shared->counters.outcomes[static_cast<int>(outcome)]++;
  log_episode_ended(episode, prepared.gid, outcome, ending.lasted);
  queue_end(session, ending);
}

void keep_episode(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision) {
  session.update([&decision](SessionRecord* record) {
    record->episode.progress = decision.progress;
    if (decision.has_impact) record->impact = decision.impact;
    if (decision.has_impact) record->waits_for_lock = decision.waits_for_lock;
    if (!decision.has_plan) return;
    record->next_action = decision.next_action;
    record->next_action_at = decision.next_action_at;
    record->hold = decision.hold;
  });
  note_contention(session, snapshot);
  if (decision.has_left_locks) {
    log_locks_left(session.record().episode, decision.impact);
    queue_event(EventKind::kActed, session.index(), session.record().episode, "");
  }
  if (!decision.has_begun_to_block) return;
  // A leak that starts to block others is reported immediately, not only when it ends.
  log_episode_blocking(session.record().episode, decision.impact);
  queue_event(EventKind::kBlocking, session.index(), session.record().episode, "");
}

}  // namespace

void prepare_apply() {
  prepare_leak_log();
  pending_count = 0;
  for (int i = 0; i < shared->slot_count; i++) pending_count += has_pending_end(TrackedSession(i));
}

void apply(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision,
           ScanContext* scan) {
  scan->next_due_in = Min(scan->next_due_in, decision.next_due_in);
  if (decision.clocks)
    session.update([&decision](SessionRecord* record) { record->clocks = *decision.clocks; });
  // The asker may have withdrawn the request since: then nothing has begun, and nothing has failed.
  if (decision.is_manual && !session.take_manual_request(snapshot.manual->request_id)) return;
  switch (decision.episode) {
    case Decision::EpisodeStep::kNone:
      break;
    case Decision::EpisodeStep::kOpen:
      open_episode(session, snapshot, decision);
      break;
    case Decision::EpisodeStep::kKeep:
      keep_episode(session, snapshot, decision);
      if (decision.impact.locks > 0) scan->is_anything_locked = true;
      break;
    case Decision::EpisodeStep::kClose:
      close_episode(session, decision.outcome, scan->now);
      break;
  }
  apply_action(session, snapshot, decision);
}

void queue_pending_ends() {
  for (int i = 0; pending_count > 0 && i < shared->slot_count; i++) {
    const TrackedSession session(i);
    if (!has_pending_end(session)) continue;
    if (!put_end(session, session.record().pending_end)) return;
    set_pending_end(session, Ending{});
    pending_count--;
  }
}

}  // namespace pgleak
