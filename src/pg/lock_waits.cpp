#include "pg/lock_waits.hpp"

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/replay_conflict.hpp"

extern "C" {
#include "storage/lwlock.h"
}

namespace pgleak {

namespace {

constexpr int kNoProc = -1;

int index_of(const PGPROC* proc) { return static_cast<int>(proc - ProcGlobal->allProcs); }

// The lock that the process seems to wait for, read without a lock; nullptr: none.
LOCK* awaited_by(int proc_index) {
  return *const_cast<LOCK* volatile*>(&ProcGlobal->allProcs[proc_index].waitLock);
}

// The lock that a process awaits, if it is in this partition, which the caller has locked. Found through the
// process's own list, because only its elements are certain to belong to this partition.
LOCK* awaited_lock(PGPROC* proc, int partition) {
  Assert(LWLockHeldByMe(LockHashPartitionLockByIndex(partition)));
  const PROCLOCK* const awaited = proc->waitProcLock;
  LOCK* lock = nullptr;
  if (awaited == nullptr) return nullptr;
  compat::for_each_held_lock(proc, partition, [awaited, &lock](PROCLOCK* held) {
    if (held == awaited) lock = held->tag.myLock;
  });
  return lock;
}

template <typename Element>
Element* allocate_array(int count) {
  return static_cast<Element*>(palloc0(static_cast<Size>(count) * sizeof(Element)));
}

}  // namespace

bool is_anyone_waiting() {
  for (int i = 0; i < static_cast<int>(ProcGlobal->allProcCount); i++)
    if (awaited_by(i) != nullptr) return true;
  return find_waiting_replay().conflict != ReplayConflict::kNone;
}

int node_of(const PGPROC* proc) {
  const PGPROC* leader = proc->lockGroupLeader;
  return index_of(leader == nullptr ? proc : leader);
}

void LockWaits::allocate() {
  static_assert(MAX_LOCKMODES <= kLockModes, "the graph has room for each of the server's lock modes");
  const int count = compat::proc_count();
  processes_ = allocate_array<LockProcess>(count);
  tags_ = allocate_array<LOCKTAG>(count);
  graph_.attach(palloc(WaitGraph::size_in_memory(count)), count);
  reading_ = 0;
  waiters_ = allocate_array<Waiter>(count);
}

// Puts every process that seems to wait for a lock into the chain of that lock's partition. Returns false if
// none does. Nothing is locked, so the process may have moved on and the lock may be another one by now: the
// chains only say where to look.
bool LockWaits::find_waiters() {
  bool is_any = false;
  for (int& first : first_waiter_) first = kNoProc;
  for (int i = 0; i < static_cast<int>(ProcGlobal->allProcCount); i++) {
    LOCK* const lock = awaited_by(i);
    if (lock == nullptr) continue;
    const LOCKTAG tag = lock->tag;  // a lock, or what was one: the memory stays mapped
    const uint32 partition = LockHashPartition(LockTagHashCode(&tag));
    waiters_[i].next = first_waiter_[partition];
    first_waiter_[partition] = i;
    is_any = true;
  }
  return is_any;
}

// Returns the node of the process. A leader of a parallel query has the process id of its session.
int LockWaits::add_process(const PGPROC* proc) {
  const int node = node_of(proc);
  const PGPROC& session = ProcGlobal->allProcs[node];
  processes_[node] = LockProcess{session.pid, *const_cast<const volatile TransactionId*>(&session.xid)};
  return node;
}

void LockWaits::add_lock(LOCK* lock) {
  Assert(LWLockHeldByMe(LockHashPartitionLock(LockTagHashCode(&lock->tag))));
  const LockMethod method = GetLockTagsMethodTable(&lock->tag);
  LOCKMASK conflicting_with_any = 0;
  const int number = graph_.begin_lock();
  if (number >= 0) tags_[number] = lock->tag;
  compat::for_each_waiter(lock, [this, method, &conflicting_with_any](PGPROC* waiter) {
    const LOCKMASK conflicting = method->conflictTab[waiter->waitLockMode];
    conflicting_with_any |= conflicting;
    waiters_[index_of(waiter)].added_in = reading_;
    graph_.add_waiter(add_process(waiter), waiter->waitLockMode, static_cast<LockModes>(conflicting),
                      from_timestamp(static_cast<TimestampTz>(pg_atomic_read_u64(&waiter->waitStart))));
  });
  compat::for_each_holder(lock, [this, conflicting_with_any](PROCLOCK* held) {
    if ((held->holdMask & conflicting_with_any) == 0) return;
    graph_.add_holder(add_process(held->tag.myProc), static_cast<LockModes>(held->holdMask));
  });
}

// A conflict has no modes. One stands for all: the mode of no lock.
void LockWaits::add_replay(const ReplayWait& replay) {
  const WaitingReplay waiting = find_waiting_replay();
  if (waiting.conflict == ReplayConflict::kNone || waiting.conflict != replay.conflict) return;
  const LockModes all = LockModes{1} << NoLock;
  const int number = graph_.begin_lock(replay.conflict == ReplayConflict::kSnapshot);
  if (number >= 0) tags_[number] = replay_tag(replay.conflict);
  graph_.add_waiter(add_process(&ProcGlobal->allProcs[waiting.proc_index]), NoLock, all, replay.since);
  for (int i = 0; i < MaxBackends; i++)
    if (holds_replay_back(i, replay)) graph_.add_holder(add_process(&ProcGlobal->allProcs[i]), all);
}

// Nobody waits for a lock on the fast path: a process that has to wait for one first moves it into the lock
// table.
void LockWaits::read_lock_table() {
  reading_++;
  if (!find_waiters()) return;
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; partition++) {
    if (first_waiter_[partition] == kNoProc) continue;
    LWLock* const partition_lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(partition_lock, LW_SHARED);
    for (int i = first_waiter_[partition]; i != kNoProc; i = waiters_[i].next) {
      if (waiters_[i].added_in == reading_) continue;  // added with the rest of its queue
      LOCK* const lock = awaited_lock(&ProcGlobal->allProcs[i], partition);
      if (lock != nullptr) add_lock(lock);
    }
    LWLockRelease(partition_lock);
  }
}

void LockWaits::read(const ReplayWait& replay) {
  graph_.clear();
  read_lock_table();
  if (replay.conflict != ReplayConflict::kNone) add_replay(replay);
}

}  // namespace pgleak
