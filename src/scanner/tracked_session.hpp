// The handle for one session slot that the scanner follows from scan to scan: its record in shared memory,
// its backend's half, and the action under way. Nothing else in the scanner turns an index into a slot.
#ifndef PGLEAK_SCANNER_TRACKED_SESSION_HPP
#define PGLEAK_SCANNER_TRACKED_SESSION_HPP

#include "core/decision.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

// A value of two words; copy it freely. Only the scanner may call the functions that change something. Never
// ereports.
class TrackedSession {
 public:
  // 0 <= index < shared->slot_count.
  explicit TrackedSession(int index) : index_(index), slot_(&session_slot(index)) {}

  int index() const { return index_; }
  const SessionRecord& record() const { return slot_->scanner.current(); }
  const Episode* open_episode() const { return record().is_open ? &record().episode : nullptr; }
  const Contention& contention() const { return slot_->contention.current(); }
  const BackendSlot& backend() const { return slot_->backend; }
  ActionSlot& action_slot() const { return slot_->action; }
  ManualRequest& manual_request() const { return slot_->manual; }
  RunningAction& running_action() const;

  // Whether others wait behind the session, whose status entry is at `version`; nothing if this scan has not
  // looked for waiters, or if the session has changed since.
  std::optional<bool> blocks_others(std::uint32_t version) const;

  // Marks the manual request with this id as taken. Returns false if its caller has withdrawn it, even if
  // another request has taken its place.
  bool take_manual_request(std::uint64_t request_id) const;

  // Asks the backend to publish how transaction `xact_seq` ends. Returns false if it ended too long ago to
  // tell.
  bool watch(XactSeq xact_seq) const { return slot_->backend.watch(xact_seq); }

  // Changes the record by calling change(SessionRecord*), which must neither fail nor call the server.
  template <typename Change>
  void update(Change change) const {
    slot_->scanner.write(change);
  }

  // Takes over what was read of the locks and waiters of leak `leak_id`.
  void note_contention(std::int64_t leak_id, const ContentionReading& reading) const {
    slot_->contention.write([&](Contention* known) { note_reading(known, leak_id, reading); });
  }

  // Open and close the episode in the record. `proc_index` is the position of the session's process in
  // ProcGlobal->allProcs.
  void open(const Episode& episode, const ImpactSample& impact, int proc_index) const;
  void close(const Ending& ending) const;

 private:
  int index_;
  SessionSlot* slot_;
};

// Allocates this process's memory and takes over the episodes and actions that an earlier scanner left. May
// ereport (out of memory).
void prepare_tracked_sessions();

// One flag per slot: true if it has an open episode. Dense, so that a pass over all slots can afford to read
// it.
const bool* open_episodes();

// An episode that has ended, for those who count them.
struct EndedEpisode {
  int index;  // of its slot
  Outcome outcome;
  Micros lasted;
};

// Takes the oldest of those that ended since the last call. They wait here until somebody asks, as many as
// there are slots.
std::optional<EndedEpisode> take_ended_episode();

// Why a scan visits a session although its state does not ask for it.
enum class Mark : std::uint8_t {
  kEpisode = 1,  // it has an open episode
  kRoot = 2,     // others wait behind it
  kStalled = 4,  // it waits for its client in the middle of something
};
inline bool has_mark(std::uint8_t marks, Mark mark) { return (marks & static_cast<std::uint8_t>(mark)) != 0; }

// One set of marks per slot; 0: none.
const std::uint8_t* session_marks();
void mark_session(int index, Mark mark);
void clear_marks(Mark mark);

// Marks the sessions that others wait behind. Call begin_marking_roots() before the lock table is read: what
// is read of a root later in the scan belongs together with that only if its status entry is unchanged since.
// A session may end its transaction in between, and what others waited for is not held by the idle session.
// `may_mark` false: nobody waits, so there will be no roots.
void forget_roots();
void begin_marking_roots(bool may_mark);
void mark_root(int index);

// Prefetches what a scan reads of the first open episode at or after slot `from`.
void prefetch_next_episode(int from);

}  // namespace pgleak

#endif
