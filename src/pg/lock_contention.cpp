#include "pg/lock_contention.hpp"

#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/lock_names.hpp"
#include "pg/lock_table.hpp"
#include "pg/lock_waits.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
#include "storage/lwlock.h"
}

namespace pgleak {

namespace {

// The processes in the queue that wait for who holds the lock in these modes, or for one ahead that does.
std::int32_t count_waiters(LOCK* lock, LOCKMASK held) {
  if (lock->nRequested == lock->nGranted) return 0;
  const LockMethod method = GetLockTagsMethodTable(&lock->tag);
  std::int32_t count = 0;
  LOCKMASK blocking = held;
  compat::for_each_waiter(lock, [method, &count, &blocking](PGPROC* waiter) {
    if ((method->conflictTab[waiter->waitLockMode] & blocking) == 0) return;
    count++;
    blocking |= LOCKBIT_ON(waiter->waitLockMode);
  });
  return count;
}

bool is_own_id(const LOCKTAG& tag) {
  const LockTagType type = static_cast<LockTagType>(tag.locktag_type);
  return type == LOCKTAG_VIRTUALTRANSACTION || type == LOCKTAG_TRANSACTION;
}

void add_fast_path_locks(const PGPROC* proc, HeldLocks* held) {
  compat::for_each_fast_path_lock(proc, [proc, held](Oid relation, LOCKMASK modes) {
    LOCKTAG tag;
    SET_LOCKTAG_RELATION(tag, proc->databaseId, relation);
    add_lock(held, HeldLock{lock_id(tag), 0, strongest_of(modes)});
  });
}

void describe(const LockWaits& waits, const Behind& wait, WaitingSession* session) {
  *session = WaitingSession{};
  session->since = wait.since;
  session->pid = waits.process(wait.node).pid;
  session->lock = lock_id(waits.tag(wait.lock));
  session->mode = static_cast<std::uint8_t>(wait.mode);
  session->is_direct = wait.depth == 1;

  StatusEntry entry{};
  SessionIdentity who{};
  const std::optional<int> index = find_status(wait.node, session->pid);
  if (!index || read_status(*index, &entry) != StatusRead::kDone || entry.id.pid != session->pid) return;
  session->query_id = entry.query_id;
  session->role_oid = entry.role_oid;
  session->database_oid = entry.database_oid;
  session->backend_type = static_cast<std::uint8_t>(entry.backend_type);
  if (read_status_strings(*index, entry.id, &who, nullptr, 0, nullptr))
    strlcpy(session->application_name, who.application_name, kNameSize);
}

}  // namespace

void read_held_locks(int proc_index, HeldLocks* held) {
  PGPROC* const proc = &ProcGlobal->allProcs[proc_index];
  held->count = 0;
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; partition++) {
    if (compat::holds_nothing_in(proc, partition)) continue;
    LWLock* const partition_lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(partition_lock, LW_SHARED);
    compat::for_each_held_lock(proc, partition, [held](PROCLOCK* lock) {
      if (lock->holdMask == 0) return;
      const LOCKTAG& tag = lock->tag.myLock->tag;
      const std::int32_t waiters = count_waiters(lock->tag.myLock, lock->holdMask);
      if (waiters == 0 && is_own_id(tag)) return;
      add_lock(held, HeldLock{lock_id(tag), waiters, strongest_of(lock->holdMask)});
    });
    LWLockRelease(partition_lock);
  }
  add_fast_path_locks(proc, held);
}

void read_waiting_sessions(int proc_index, WaitingSessions* waiting) {
  LockWaits* const waits = current_lock_waits();
  waiting->count = 0;
  if (waits == nullptr) return;
  const std::int32_t blocked = waits->graph().blocked_behind(proc_index).sessions;
  while (waiting->count < blocked && waiting->count < kKeptWaiters) {
    describe(*waits, waits->graph().nth_behind(waiting->count), &waiting->sessions[waiting->count]);
    waiting->count++;
  }
}

}  // namespace pgleak
