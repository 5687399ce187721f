#include "server/holdings.hpp"

#include "server/compat.hpp"
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

// How many wait for what `held` has been granted. The lock's partition is locked.
int count_waiters(PROCLOCK* held) {
  LOCK* lock = held->tag.myLock;
  if (lock->nRequested <= lock->nGranted) return 0;
  const LockMethod method = GetLockTagsMethodTable(&lock->tag);
  int count = 0;
  compat::for_each_waiter(lock, [&count, method, held](const PGPROC* waiter) {
    if (method->conflictTab[waiter->waitLockMode] & held->holdMask) count++;
  });
  return count;
}

}  // namespace

bool read_holdings(int index, SessionId session, Holdings* holdings) {
  GuestOwner owner;
  if (!session_slots[index].guest.read_owner(session, &owner)) return false;
  PGPROC* proc = &ProcGlobal->allProcs[owner.proc_index];

  *holdings = Holdings{proc->xid, proc->xmin, compat::fast_path_lock_count(proc), 0};
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; partition++) {
    LWLock* partition_lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(partition_lock, LW_SHARED);
    compat::for_each_held_lock(proc, partition, [holdings](PROCLOCK* held) {
      if (held->holdMask == 0 || is_own_virtual_lock(held)) return;
      holdings->locks++;
      holdings->blocked += count_waiters(held);
    });
    LWLockRelease(partition_lock);
  }
  // The process id is the last thing to go and the first to come: unchanged, the rest was the session's.
  return proc->pid == session.pid;
}

}  // namespace pgleak
