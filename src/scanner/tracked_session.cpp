#include "scanner/tracked_session.hpp"

#include "core/prefetch.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// A copy of SessionRecord::is_open, because each record is a cache miss of its own.
bool* has_episode = nullptr;

std::uint8_t* marks = nullptr;

// Of the status entries, before the lock table was read.
std::uint32_t* seen_versions = nullptr;
bool has_marked_roots = false;  // in this scan

void unmark_session(int index, Mark mark) {
  marks[index] = static_cast<std::uint8_t>(marks[index] & ~static_cast<std::uint8_t>(mark));
}

// The process of each open episode, for the prefetch. 0 for the episodes that an earlier scanner opened.
std::int32_t* proc_of = nullptr;

RunningAction* running_actions = nullptr;

EndedEpisode* ended = nullptr;  // a ring of slot_count
std::uint64_t ended_count = 0;  // put into it
std::uint64_t taken_count = 0;  // taken out

template <typename Element>
Element* allocate_per_slot() {
  return static_cast<Element*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(shared->slot_count) * sizeof(Element)));
}

// Resumes an action whose request an earlier scanner sent and whose reply is still missing.
void resume_action(TrackedSession session, MonotonicTime now) {
  const ActionRequest& request = session.action_slot().request.current();
  if (request.nonce == 0) return;
  session.running_action() = RunningAction{request.action,
                                           session.action_slot().armed_signal().nonce == request.nonce,
                                           request.state_start,
                                           false,
                                           now,
                                           request.nonce,
                                           Handshake{}};
  note_sent(&session.running_action().handshake, now);
}

}  // namespace

RunningAction& TrackedSession::running_action() const { return running_actions[index_]; }

bool TrackedSession::take_manual_request(std::uint64_t request_id) const {
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  const bool is_asked =
      slot_->manual.phase == ManualRequest::Phase::kAsked && slot_->manual.request_id == request_id;
  if (is_asked) {
    enter_phase(&slot_->manual, ManualRequest::Phase::kTaken);
    shared->manual_requests--;
  }
  LWLockRelease(shared->manual_lock);
  return is_asked;
}

void TrackedSession::open(const Episode& episode, const ImpactSample& impact, int proc_index) const {
  update([&](SessionRecord* record) {
    record->is_open = true;
    record->episode = episode;
    record->impact = impact;
    record->next_action = Action::kNone;
    record->hold = ActionHold{};
  });
  has_episode[index_] = true;
  mark_session(index_, Mark::kEpisode);
  proc_of[index_] = proc_index;
  shared->open_leaks++;
}

void TrackedSession::close(const Ending& ending) const {
  const std::uint64_t room = static_cast<std::uint64_t>(shared->slot_count);
  update([](SessionRecord* record) { record->is_open = false; });
  if (ended_count - taken_count < room)
    ended[ended_count++ % room] = EndedEpisode{index_, ending.outcome, ending.lasted};
  has_episode[index_] = false;
  unmark_session(index_, Mark::kEpisode);
  shared->open_leaks--;
}

void prepare_tracked_sessions() {
  has_episode = allocate_per_slot<bool>();
  marks = allocate_per_slot<std::uint8_t>();
  seen_versions = allocate_per_slot<std::uint32_t>();
  proc_of = allocate_per_slot<std::int32_t>();
  running_actions = allocate_per_slot<RunningAction>();
  ended = allocate_per_slot<EndedEpisode>();
  const MonotonicTime now = monotonic_now();
  for (int i = 0; i < shared->slot_count; i++) {
    const TrackedSession session(i);
    has_episode[i] = session.record().is_open;
    if (has_episode[i]) mark_session(i, Mark::kEpisode);
    resume_action(session, now);
  }
}

std::optional<EndedEpisode> take_ended_episode() {
  if (taken_count == ended_count) return std::nullopt;
  return ended[taken_count++ % static_cast<std::uint64_t>(shared->slot_count)];
}

const bool* open_episodes() { return has_episode; }

const std::uint8_t* session_marks() { return marks; }

void mark_session(int index, Mark mark) {
  marks[index] = static_cast<std::uint8_t>(marks[index] | static_cast<std::uint8_t>(mark));
}

void clear_marks(Mark mark) {
  for (int i = 0; i < shared->slot_count; i++) unmark_session(i, mark);
}

void forget_roots() { has_marked_roots = false; }

void begin_marking_roots(bool may_mark) {
  has_marked_roots = true;
  clear_marks(Mark::kRoot);
  if (!may_mark) return;
  for (int i = 0; i < shared->slot_count; i++) seen_versions[i] = status_version(i);
}

void mark_root(int index) { mark_session(index, Mark::kRoot); }

std::optional<bool> TrackedSession::blocks_others(std::uint32_t version) const {
  if (!has_marked_roots) return std::nullopt;
  if (!has_mark(marks[index_], Mark::kRoot)) return false;
  if (seen_versions[index_] != version) return std::nullopt;
  return true;
}

void prefetch_next_episode(int from) {
  const bool* const next = static_cast<const bool*>(
      memchr(has_episode + from, 1, static_cast<std::size_t>(shared->slot_count - from)));
  if (next == nullptr) return;
  const int index = static_cast<int>(next - has_episode);
  prefetch_status(index);
  prefetch(&session_slot(index));
  prefetch_held_resources(proc_of[index]);
}

}  // namespace pgleak
