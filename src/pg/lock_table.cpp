#include "pg/lock_table.hpp"

#include "core/prefetch.hpp"
#include "pg/compat.hpp"
#include "pg/lock_waits.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr int kNoProc = -1;

constexpr Blocked kNobodyBlocked{0, WallTime::none(), false};

LockWaits waits_now;
bool is_current = false;
ReplayWait replay_now{};

Blocked blocked_behind(int proc_index) {
  LockWaits* const waits = current_lock_waits();
  if (waits == nullptr || waits->graph().is_empty()) return kNobodyBlocked;
  return waits->graph().blocked_behind(proc_index);
}

// Returns the process id of the session at the root of the chain that `proc` waits in; 0 for a prepared
// transaction, or if it is unknown.
std::int32_t root_pid_of(const PGPROC* proc) {
  LockWaits* const waits = current_lock_waits();
  if (waits == nullptr || waits->graph().is_empty()) return 0;
  const int root = waits->graph().root_of(node_of(proc));
  return root == kNoProc ? 0 : ProcGlobal->allProcs[root].pid;
}

bool is_own_virtual_lock(const PROCLOCK* held) {
  return static_cast<LockTagType>(held->tag.myLock->tag.locktag_type) == LOCKTAG_VIRTUALTRANSACTION;
}

struct LockCount {
  int count;
  bool may_block;  // somebody may wait for one of them
};

// Nobody waits for a lock on the fast path: a process that has to wait for one first moves it into the lock
// table.
LockCount count_locks(PGPROC* proc) {
  // The other processes of a parallel query hold locks too.
  LockCount locks{compat::fast_path_lock_count(proc), proc->lockGroupLeader != nullptr};
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; partition++) {
    if (compat::holds_nothing_in(proc, partition)) continue;
    LWLock* const partition_lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(partition_lock, LW_SHARED);
    compat::for_each_held_lock(proc, partition, [&locks](PROCLOCK* held) {
      if (held->holdMask != 0 && !is_own_virtual_lock(held)) locks.count++;
      const LOCK* const lock = held->tag.myLock;
      if (lock->nRequested > lock->nGranted) locks.may_block = true;
    });
    LWLockRelease(partition_lock);
  }
  return locks;
}

}  // namespace

void prepare_lock_waits() {
  MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
  waits_now.allocate();
  MemoryContextSwitchTo(caller);
}

void forget_lock_waits(const ReplayWait& replay) {
  is_current = false;
  replay_now = replay;
}

LockWaits* current_lock_waits() {
  if (!waits_now.is_allocated()) return nullptr;
  if (!is_current) waits_now.read(replay_now);
  is_current = true;
  return &waits_now;
}

void prefetch_held_resources(int proc_index) { prefetch(&ProcGlobal->allProcs[proc_index]); }

bool read_held_resources(int proc_index, int pid, HeldResources* held) {
  Assert(proc_index >= 0 && proc_index < compat::proc_count());
  PGPROC* const proc = &ProcGlobal->allProcs[proc_index];

  const LockCount locks = count_locks(proc);
  // Replay may wait for a session whose locks nobody wants.
  const bool may_block = locks.may_block || replay_now.conflict != ReplayConflict::kNone;
  const Blocked blocked = may_block ? blocked_behind(proc_index) : kNobodyBlocked;
  // Read the next transaction id last, so that those held are older.
  const TransactionId xid = *const_cast<volatile TransactionId*>(&proc->xid);
  // No VACUUM heeds the snapshot of another one. That of CREATE INDEX CONCURRENTLY counts, although those
  // that wait for old snapshots to go ignore each other.
  const bool holds_horizon = (proc->statusFlags & PROC_IN_VACUUM) == 0;
  const TransactionId xmin =
      holds_horizon ? *const_cast<volatile TransactionId*>(&proc->xmin) : InvalidTransactionId;
  const bool waits = *const_cast<LOCK* volatile*>(&proc->waitLock) != nullptr;
  *held = HeldResources{xid,           xmin,
                        locks.count,   blocked.sessions,
                        blocked.since, compat::next_transaction_id(),
                        waits,         waits ? root_pid_of(proc) : 0,
                        false,         blocked.is_guess};
  // The process id is set first and cleared last: if it is unchanged, the rest was the session's.
  return proc->pid == pid;
}

}  // namespace pgleak
