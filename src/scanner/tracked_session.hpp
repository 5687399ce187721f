// The handle for one slot, as the scanner follows it from scan to scan: its record in shared memory, its
// backend's half, and what the scanner remembers of an action under way. Nothing else in the scanner turns an
// index into a slot.
#ifndef PGLEAK_SCANNER_TRACKED_SESSION_HPP
#define PGLEAK_SCANNER_TRACKED_SESSION_HPP

#include "core/decision.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

// A value of two words: copy it freely. Only the scanner may call what changes something.
class TrackedSession {
 public:
  // 0 <= index < shared->slot_count.
  explicit TrackedSession(int index) : index_(index), slot_(&session_slot(index)) {}

  int index() const { return index_; }
  const SessionRecord& record() const { return slot_->scanner.current(); }
  const Episode* open_episode() const { return record().is_open ? &record().episode : nullptr; }
  const BackendSlot& backend() const { return slot_->backend; }
  ActionSlot& action_slot() const { return slot_->action; }
  ManualRequest& manual_request() const { return slot_->manual; }
  RunningAction& running_action() const;

  // Marks the manual request as taken. False if the asker has withdrawn it.
  bool take_manual_request() const;

  // Asks the backend to note how transaction `xact_seq` ends. False if it ended too long ago.
  bool watch(XactSeq xact_seq) const { return slot_->backend.watch(xact_seq); }

  // Changes the record by calling change(SessionRecord*), which must not fail or call the server.
  template <typename Change>
  void update(Change change) const {
    slot_->scanner.write(change);
  }

  // The episode in the record opens or closes. `proc_index` is the position of its process in
  // ProcGlobal->allProcs.
  void open(const Episode& episode, const ImpactSample& impact, int proc_index) const;
  void close() const;

 private:
  int index_;
  SessionSlot* slot_;
};

// Allocates this process's memory and finds the episodes and actions that an earlier scanner left. May
// ereport (out of memory).
void prepare_tracked_sessions();

// For each slot whether it has an open episode: dense, so that a pass over all slots can afford to read it.
const bool* open_episodes();

// Prefetches what a scan reads of the first open episode from slot `from` on.
void prefetch_next_episode(int from);

}  // namespace pgleak

#endif
