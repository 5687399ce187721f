#include "scanner/prepared.hpp"

#include "core/contention.hpp"
#include "core/prepared.hpp"
#include "core/text.hpp"
#include "pg/clock.hpp"
#include "pg/lock_contention.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_proc.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "scanner/leak_log.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

using Step = PreparedDecision::Step;

// Both by place. A place with nothing to remember is not tracked, which saves each scan the cache misses of
// those that were never used.
bool* is_tracked = nullptr;
bool* is_root = nullptr;        // by place
bool has_marked_roots = false;  // in this scan
MonotonicTime previous_scan{};  // of all places
ContentionReading* contention_buffer = nullptr;

template <typename Change>
void change_record(PreparedSlot* slot, Change change) {
  slot->scanner.write(change);
}

// --- read ---

// Returns false if the transaction at `place` is not, or no longer, the one of the snapshot.
bool read_place_held(int place, PreparedSnapshot* snapshot) {
  HeldResources held;
  if (!read_held_resources(prepared_proc_index(place), 0, &held)) return false;
  if (held.xid != snapshot->xid || prepared_xid(place) != snapshot->xid) return false;
  snapshot->held = held;
  return true;
}

PreparedSnapshot read_place(int place, const PreparedSlot& slot, const PreparedTransaction& listed, Now now) {
  const PreparedRecord& record = slot.scanner.current();
  PreparedSnapshot snapshot{};
  snapshot.place = place;
  snapshot.now = now;
  snapshot.xid = prepared_xid(place);
  snapshot.listed = snapshot.xid != 0 && listed.xid == snapshot.xid ? &listed : nullptr;
  if (has_marked_roots) snapshot.blocks_others = is_root[place];
  if (record.is_open) snapshot.fate = slot.fate_of(record.episode.progress.worst.xid);
  snapshot.previous_scan = previous_scan;
  snapshot.clocks = record.clocks;
  return snapshot;
}

// As session_reader does for sessions.
void read_place_contention(int place, const PreparedSnapshot& snapshot, std::int64_t leak_id,
                           PreparedSlot* slot) {
  const Contention& known = slot->contention.current();
  const HeldResources& held = *snapshot.held;
  const ImpactSample& last = slot->scanner.current().impact;
  const bool is_new = known.leak_id != leak_id;
  if (!is_new && !is_stale(known, leak_id, last, held, snapshot.now.monotonic)) return;
  contention_buffer->at = snapshot.now.monotonic;
  contention_buffer->locks = held.locks;
  contention_buffer->blocked = held.blocked;
  read_held_locks(prepared_proc_index(place), &contention_buffer->held);
  contention_buffer->waiting.count = 0;
  if (wants_waiting(known, leak_id, held.blocked))
    read_waiting_sessions(prepared_proc_index(place), &contention_buffer->waiting);
  slot->contention.write([leak_id](Contention* value) { note_reading(value, leak_id, *contention_buffer); });
}

// --- apply ---

void name_by_number(std::uint32_t number, char (&name)[kNameSize]) {
  TextBuffer text(name, sizeof(name));
  text.append_number(number);
}

// Without the recorder, only the numbers of the database and the owner are known.
void describe_prepared(int place, const PreparedTransaction* listed, Episode* episode) {
  SessionIdentity& who = episode->who;
  if (listed == nullptr) {
    const PGPROC& proc = ProcGlobal->allProcs[prepared_proc_index(place)];
    name_by_number(proc.databaseId, who.database);
    name_by_number(proc.roleId, who.role);
    who.role_oid = proc.roleId;
    return;
  }
  strlcpy(who.database, listed->database, kNameSize);
  strlcpy(who.role, listed->role, kNameSize);
  who.encoding = listed->encoding;
  who.role_oid = listed->role_oid;
  episode->prepared_at = listed->prepared_at;
}

Episode make_prepared_episode(const PreparedSnapshot& snapshot, const PreparedDecision& decision) {
  Episode episode{};
  episode.kind = HolderKind::kPreparedTransaction;
  describe_prepared(snapshot.place, snapshot.listed, &episode);
  episode.leak_id = snapshot.listed != nullptr ? prepared_leak_id(episode.prepared_at, snapshot.xid)
                                               : shared->last_leak_id.fetch_add(1) + 1;
  episode.detected_at = snapshot.now.wall;
  episode.detected_mono = snapshot.now.monotonic;
  episode.leak_after = decision.detection.limit;
  episode.clock = decision.detection.clock;
  episode.limit_source = decision.detection.source;
  episode.progress.transaction_age = decision.age;
  episode.progress.worst = decision.impact;
  return episode;
}

// The same episode as before the restart of the server. Returns false if it is a new one.
bool resume(const PreparedSnapshot& snapshot, Episode* episode) {
  if (snapshot.listed == nullptr || snapshot.listed->known.leak_id == 0) return false;
  const KnownEpisode& known = snapshot.listed->known;
  episode->leak_id = known.leak_id;
  episode->detected_at = known.detected_at;
  if (snapshot.now.wall > known.detected_at) episode->detected_mono -= snapshot.now.wall - known.detected_at;
  episode->progress.worst.blocked = Max(episode->progress.worst.blocked, known.blocked);
  return true;
}

void open_prepared(PreparedSlot* slot, const PreparedSnapshot& snapshot, const PreparedDecision& decision) {
  Episode episode = make_prepared_episode(snapshot, decision);
  const bool is_resumed = resume(snapshot, &episode);
  // A record has room for one episode. Its former one waits here only while the queue is full.
  if (slot->scanner.current().pending_end.outcome != Outcome::kNone) shared->counters.events_dropped++;
  change_record(slot, [&](PreparedRecord* record) {
    record->is_open = true;
    record->episode = episode;
    copy_gid(record->gid, snapshot.listed != nullptr ? snapshot.listed->gid : "");
    record->clocks = decision.clocks;
    record->impact = decision.impact;
    record->pending_end = Ending{};
  });
  shared->open_leaks++;
  read_place_contention(snapshot.place, snapshot, episode.leak_id, slot);
  const char* const gid = slot->scanner.current().gid;
  log_prepared_opened(episode, gid, decision.detection.age, is_resumed);
  if (is_resumed) return;
  shared->counters.leaks++;
  queue_event(EventKind::kOpened, snapshot.place, episode, gid);
}

void keep_prepared(PreparedSlot* slot, const PreparedSnapshot& snapshot, const PreparedDecision& decision) {
  read_place_contention(snapshot.place, snapshot, slot->scanner.current().episode.leak_id, slot);
  change_record(slot, [&](PreparedRecord* record) {
    record->clocks = decision.clocks;
    record->impact = decision.impact;
    record->episode.progress = decision.progress;
    if (snapshot.listed == nullptr || record->gid[0] != '\0') return;
    copy_gid(record->gid, snapshot.listed->gid);  // the recorder is back
    describe_prepared(snapshot.place, snapshot.listed, &record->episode);
  });
  if (!decision.has_begun_to_block) return;
  const PreparedRecord& record = slot->scanner.current();
  log_prepared_blocking(record.episode, record.gid, decision.impact);
  queue_event(EventKind::kBlocking, snapshot.place, record.episode, record.gid);
}

// Returns false if the queue has no room; then the end stays where it is.
bool queue_prepared_end(int place, PreparedSlot* slot) {
  const PreparedRecord& record = slot->scanner.current();
  if (!put_event(EventKind::kEnded, place, record.episode, record.gid, record.pending_end)) return false;
  change_record(slot, [](PreparedRecord* changed) { changed->pending_end = Ending{}; });
  return true;
}

void close_prepared(PreparedSlot* slot, const PreparedSnapshot& snapshot, Outcome outcome) {
  const Episode& episode = slot->scanner.current().episode;
  const Ending ending{outcome, snapshot.now.wall, snapshot.now.monotonic - episode.detected_mono};
  change_record(slot, [&ending](PreparedRecord* record) {
    record->is_open = false;
    record->clocks = PreparedClocks{};
    record->pending_end = ending;
  });
  shared->open_leaks--;
  shared->counters.outcomes[static_cast<int>(outcome)]++;
  log_prepared_ended(episode, slot->scanner.current().gid, outcome, ending.lasted);
  queue_prepared_end(snapshot.place, slot);
}

void ask_fate(PreparedSlot* slot) {
  const std::uint32_t xid = slot->scanner.current().episode.progress.worst.xid;
  slot->ask_fate(xid);
  wake_worker(shared->recorder_proc);
}

void apply_to_place(PreparedSlot* slot, const PreparedSnapshot& snapshot, const PreparedDecision& decision,
                    ScanContext* scan) {
  scan->next_due_in = Min(scan->next_due_in, decision.next_due_in);
  switch (decision.step) {
    case Step::kNone:
      change_record(slot, [&decision](PreparedRecord* record) { record->clocks = decision.clocks; });
      if (decision.asks_fate) ask_fate(slot);
      break;
    case Step::kOpen:
      open_prepared(slot, snapshot, decision);
      break;
    case Step::kKeep:
      keep_prepared(slot, snapshot, decision);
      scan->is_anything_locked = true;
      break;
    case Step::kClose:
      close_prepared(slot, snapshot, decision.outcome);
      break;
  }
}

bool needs_tracking(const PreparedRecord& record) {
  return record.is_open || record.clocks.xid != 0 || record.pending_end.outcome != Outcome::kNone;
}

void process_place(int place, const PreparedLimits& limits, TimeBudget* records, ScanContext* scan) {
  PreparedSlot& slot = prepared_slot(place);
  const PreparedRecord& record = slot.scanner.current();
  if (record.pending_end.outcome != Outcome::kNone) queue_prepared_end(place, &slot);
  PreparedTransaction listed;
  if (!slot.listed.read(&listed)) listed.xid = 0;
  PreparedSnapshot snapshot = read_place(place, slot, listed, scan->now);
  const Episode* const open = record.is_open ? &record.episode : nullptr;
  PreparedDecision decision = decide_prepared(snapshot, open, limits, records);
  if (decision.needs_held) {
    if (!read_place_held(place, &snapshot)) return;
    decision = decide_prepared(snapshot, open, limits, records);
  }
  const bool is_record = decision.step == Step::kOpen || decision.step == Step::kClose;
  const MonotonicTime began = is_record ? monotonic_now() : MonotonicTime{};
  apply_to_place(&slot, snapshot, decision, scan);
  if (is_record) records->spend(monotonic_now() - began);
}

}  // namespace

void prepare_prepared() {
  const Size places = static_cast<Size>(prepared_place_count());
  if (places == 0) return;
  is_tracked = static_cast<bool*>(MemoryContextAllocZero(TopMemoryContext, places * sizeof(bool)));
  for (int i = 0; i < prepared_place_count(); i++)
    is_tracked[i] = needs_tracking(prepared_slot(i).scanner.current());
  is_root = static_cast<bool*>(MemoryContextAllocZero(TopMemoryContext, places * sizeof(bool)));
  contention_buffer =
      static_cast<ContentionReading*>(MemoryContextAllocZero(TopMemoryContext, sizeof(ContentionReading)));
}

void scan_prepared(ScanContext* scan) {
  TimeBudget records{};
  const int places = prepared_place_count();
  const LimitValues& server = scan->inputs.server_limits;
  const PreparedLimits limits{from_milliseconds(settings.prepared_leak_after),
                              server.value[limit_index(Clock::kTransaction, LimitKind::kLeak)],
                              server.value[limit_index(Clock::kBlocking, LimitKind::kLeak)]};
  for (int i = 0; i < places && !worker_should_stop(); i++) {
    if (!is_tracked[i] && prepared_xid(i) == InvalidTransactionId) continue;
    process_place(i, limits, &records, scan);
    is_tracked[i] = needs_tracking(prepared_slot(i).scanner.current());
  }
  scan->defers_prepared = records.has_deferred();
  previous_scan = scan->now.monotonic;
}

void forget_prepared_roots() { has_marked_roots = false; }

void begin_marking_prepared_roots() {
  has_marked_roots = true;
  for (int i = 0; i < prepared_place_count(); i++) is_root[i] = false;
}

void mark_prepared_root(int place) { is_root[place] = true; }

}  // namespace pgleak
