#include "server/holdings.hpp"

#include "core/prefetch.hpp"
#include "server/compat.hpp"
#include "server/lock_waits.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "storage/lock.h"
#include "storage/lwlock.h"
}

namespace pgleak {

namespace {

bool is_own_virtual_lock(const PROCLOCK* held) {
  return static_cast<LockTagType>(held->tag.myLock->tag.locktag_type) == LOCKTAG_VIRTUALTRANSACTION;
}

struct HeldLocks {
  int count;
  bool may_block;  // somebody waits for one of them, or it cannot be told here
};

// In the fast path are none that anybody waits for: whoever has to moves it into the lock table first.
HeldLocks read_locks(PGPROC* proc) {
  // Of a parallel query the other processes have locks, too.
  HeldLocks locks{compat::fast_path_lock_count(proc), proc->lockGroupLeader != nullptr};
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

void fetch_holdings(int proc_index) { fetch(&ProcGlobal->allProcs[proc_index]); }

bool read_holdings(int index, SessionId session, Holdings* holdings) {
  GuestOwner owner;
  if (!session_slots[index].guest.read_owner(session, &owner)) return false;
  PGPROC* const proc = &ProcGlobal->allProcs[owner.proc_index];

  const HeldLocks locks = read_locks(proc);
  const Blocked blocked = locks.may_block ? blocked_behind(owner.proc_index) : Blocked{0, 0};
  // The next transaction id last, so that those held are older.
  const TransactionId xid = *const_cast<volatile TransactionId*>(&proc->xid);
  const TransactionId xmin = *const_cast<volatile TransactionId*>(&proc->xmin);
  *holdings =
      Holdings{xid, xmin, locks.count, blocked.sessions, blocked.since, compat::next_transaction_id()};
  // The process id is the last thing to go and the first to come: unchanged, the rest was the session's.
  return proc->pid == session.pid;
}

}  // namespace pgleak
