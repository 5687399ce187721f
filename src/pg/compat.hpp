// Everything that differs between PostgreSQL 15, 16, 17, 18 and 19, under names that know no version. No
// other file may test PG_VERSION_NUM.
//
// Never ereports, unless a declaration says so.
#ifndef PGLEAK_PG_COMPAT_HPP
#define PGLEAK_PG_COMPAT_HPP

#include <csignal>

#include "pg/postgres.hpp"

extern "C" {
#include "access/transam.h"
#include "access/tupdesc.h"
#include "access/twophase.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "postmaster/postmaster.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif
}

#if PG_VERSION_NUM < 150000
#error "pgleak needs PostgreSQL 15 or later"
#endif
// The parameters of a signal handler that uses none.
#if PG_VERSION_NUM >= 190000
#define PGLEAK_UNUSED_SIGNAL_ARGS int, const pg_signal_info*
#else
#define PGLEAK_UNUSED_SIGNAL_ARGS int
#endif

namespace pgleak::compat {

// Index of this process's own entry in the backend status array. Up to 16, the array is ordered by BackendId
// (from 1); from 17 on, by ProcNumber (from 0).
inline int my_status_index() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyBackendId - 1;
#endif
}

// Number of entries that can belong to client backends: 0 .. status_slot_count() - 1.
inline int status_slot_count() { return MaxBackends; }

// Number of all entries: those of auxiliary processes, such as the startup process of a standby, come last.
inline int status_entry_count() {
#if PG_VERSION_NUM >= 170000
  return MaxBackends + NUM_AUXILIARY_PROCS;
#else
  return MaxBackends + NUM_AUXPROCTYPES;
#endif
}

// The index of a backend in the backend status array; -1 or wrong for an auxiliary process.
inline int status_index_of(const PGPROC* proc) {
#if PG_VERSION_NUM >= 170000
  return static_cast<int>(proc - ProcGlobal->allProcs);
#else
  return proc->backendId == InvalidBackendId ? -1 : proc->backendId - 1;
#endif
}

// Position of this process's PGPROC in ProcGlobal->allProcs.
inline int my_proc_index() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyProc->pgprocno;
#endif
}

// Calls one of the server's signal handlers from a handler of our own.
template <typename Handler>
void call_handler(Handler handler, int signal, const siginfo_t* info) {
#if PG_VERSION_NUM >= 190000
  pg_signal_info sender{};
  sender.pid = static_cast<decltype(sender.pid)>(info->si_pid);
  sender.uid = static_cast<decltype(sender.uid)>(info->si_uid);
  handler(signal, &sender);
#else
  (void)info;
  handler(signal);
#endif
}

// The type of a system cache id in a callback.
#if PG_VERSION_NUM >= 190000
using SyscacheId = SysCacheIdentifier;
#else
using SyscacheId = int;
#endif

// Makes the backend at `status_index` with process id `pid` handle invalidation messages. Returns false and
// does nothing if another backend has that place by now.
inline bool send_catchup_interrupt(int pid, int status_index) {
#if PG_VERSION_NUM >= 170000
  const ProcNumber number = status_index;
#else
  const BackendId number = status_index + 1;
#endif
  return SendProcSignal(pid, PROCSIG_CATCHUP_INTERRUPT, number) == 0;
}

// The local transaction number of a backend; 0 outside a transaction.
inline LocalTransactionId local_transaction(const PGPROC* proc) {
#if PG_VERSION_NUM >= 170000
  return proc->vxid.lxid;
#else
  return proc->lxid;
#endif
}

#if PG_VERSION_NUM >= 160000
// dlist_foreach() without its type assertion, which is C only. `offset` is that of the node in Element.
template <typename Element, typename Visit>
void for_each_in_list(dlist_head* list, std::size_t offset, Visit visit) {
  for (dlist_node* node = list->head.next; node != nullptr && node != &list->head; node = node->next)
    visit(reinterpret_cast<Element*>(reinterpret_cast<char*>(node) - offset));
}
#endif

// Calls visit(PROCLOCK*) for each lock that `proc` holds or awaits in `partition`, which the caller has
// locked.
template <typename Visit>
void for_each_held_lock(PGPROC* proc, int partition, Visit visit) {
#if PG_VERSION_NUM >= 160000
  for_each_in_list<PROCLOCK>(&proc->myProcLocks[partition], offsetof(PROCLOCK, procLink), visit);
#else
  SHM_QUEUE* const list = &proc->myProcLocks[partition];
  Pointer link = SHMQueueNext(list, list, offsetof(PROCLOCK, procLink));
  while (link != nullptr) {
    PROCLOCK* const held = reinterpret_cast<PROCLOCK*>(link);
    visit(held);
    link = SHMQueueNext(list, &held->procLink, offsetof(PROCLOCK, procLink));
  }
#endif
}

// True if `proc` has no locks in `partition`, or had none a moment ago. Reads one pointer, so the caller need
// not lock a partition that has nothing for it.
inline bool holds_nothing_in(const PGPROC* proc, int partition) {
#if PG_VERSION_NUM >= 160000
  const dlist_node* const head = &proc->myProcLocks[partition].head;
  const dlist_node* const first = *const_cast<dlist_node* const volatile*>(&head->next);
  return first == nullptr || first == head;
#else
  const SHM_QUEUE* const head = &proc->myProcLocks[partition];
  const SHM_QUEUE* const first = *const_cast<SHM_QUEUE* const volatile*>(&head->next);
  return first == nullptr || first == head;
#endif
}

// Calls visit(PROCLOCK*) for each process that holds or awaits `lock`, whose partition the caller has locked.
template <typename Visit>
void for_each_holder(LOCK* lock, Visit visit) {
#if PG_VERSION_NUM >= 160000
  for_each_in_list<PROCLOCK>(&lock->procLocks, offsetof(PROCLOCK, lockLink), visit);
#else
  SHM_QUEUE* const list = &lock->procLocks;
  Pointer link = SHMQueueNext(list, list, offsetof(PROCLOCK, lockLink));
  while (link != nullptr) {
    PROCLOCK* const held = reinterpret_cast<PROCLOCK*>(link);
    visit(held);
    link = SHMQueueNext(list, &held->lockLink, offsetof(PROCLOCK, lockLink));
  }
#endif
}

// Calls visit(PGPROC*) for each process that waits for `lock`, whose partition the caller has locked.
template <typename Visit>
void for_each_waiter(LOCK* lock, Visit visit) {
#if PG_VERSION_NUM >= 190000
  for_each_in_list<PGPROC>(&lock->waitProcs.dlist, offsetof(PGPROC, waitLink), visit);
#elif PG_VERSION_NUM >= 160000
  for_each_in_list<PGPROC>(&lock->waitProcs.dlist, offsetof(PGPROC, links), visit);
#else
  PGPROC* waiter = reinterpret_cast<PGPROC*>(lock->waitProcs.links.next);
  for (int i = 0; i < lock->waitProcs.size; i++) {
    visit(waiter);
    waiter = reinterpret_cast<PGPROC*>(waiter->links.next);
  }
#endif
}

// Number of relation locks that `proc` holds on the fast path, three bits each (lock.c). Reads without
// fpInfoLock: each word is read whole, and a process stopped while it holds the lock cannot block the reader.
inline int fast_path_lock_count(const PGPROC* proc) {
  int count = 0;
#if PG_VERSION_NUM >= 180000
  if (proc->fpLockBits == nullptr) return 0;  // a prepared transaction has none
  for (int group = 0; group < FastPathLockGroupsPerBackend; group++)
    for (uint64 bits = static_cast<const volatile uint64*>(proc->fpLockBits)[group]; bits != 0; bits >>= 3)
      count += (bits & 7) != 0;
#else
  for (uint64 bits = *const_cast<const volatile uint64*>(&proc->fpLockBits); bits != 0; bits >>= 3)
    count += (bits & 7) != 0;
#endif
  return count;
}

// Calls visit(relation, modes) for each relation lock that `proc` holds on the fast path. Reads without
// fpInfoLock, so the relation of a lock that comes or goes at the same moment may be another one.
template <typename Visit>
void for_each_fast_path_lock(const PGPROC* proc, Visit visit) {
#if PG_VERSION_NUM >= 180000
  const int groups = FastPathLockGroupsPerBackend;
  const int slots = FP_LOCK_SLOTS_PER_GROUP;
  const volatile uint64* const bits_of = proc->fpLockBits;
#else
  const int groups = 1;
  const int slots = FP_LOCK_SLOTS_PER_BACKEND;
  const volatile uint64* const bits_of = &proc->fpLockBits;
#endif
  const volatile Oid* const relations = proc->fpRelId;
  if (bits_of == nullptr) return;  // a prepared transaction has none
  for (int group = 0; group < groups; group++) {
    const uint64 bits = bits_of[group];
    if (bits == 0) continue;
    // Slots are taken from the last to the first.
    for (int i = slots - 1; i >= 0; i--) {
      // The first bit is that of AccessShareLock.
      const LOCKMASK modes = static_cast<LOCKMASK>(bits >> (3 * i) & 7) << AccessShareLock;
      if (modes != 0) visit(static_cast<Oid>(relations[group * slots + i]), modes);
    }
  }
}

// Number of entries of ProcGlobal->allProcs, including those of prepared transactions, which come last.
inline int proc_count() { return static_cast<int>(ProcGlobal->allProcCount) + max_prepared_xacts; }

// The next transaction id that the server will assign, in all its 64 bits. Reads without XidGenLock, which is
// held during disk writes that extend the commit log.
inline std::uint64_t next_full_transaction_id() {
#if PG_VERSION_NUM >= 170000
  return *const_cast<const volatile uint64*>(&TransamVariables->nextXid.value);
#else
  return *const_cast<const volatile uint64*>(&ShmemVariableCache->nextXid.value);
#endif
}

inline TransactionId next_transaction_id() { return static_cast<TransactionId>(next_full_transaction_id()); }

// Number of places for replication slots, used and unused.
inline int replication_slot_count() {
#if PG_VERSION_NUM >= 190000
  return max_replication_slots + max_repack_replication_slots;
#else
  return max_replication_slots;
#endif
}

// Process id of the one that uses `slot`; 0 for none. `slot` may be a copy.
inline int user_of_slot(const ReplicationSlot& slot) {
#if PG_VERSION_NUM >= 190000
  return slot.active_proc == INVALID_PROC_NUMBER ? 0 : GetPGProcByNumber(slot.active_proc)->pid;
#else
  return slot.active_pid;
#endif
}

// True if `slot` was invalidated, after which it holds nothing.
inline bool is_invalidated(const ReplicationSlot& slot) {
#if PG_VERSION_NUM >= 160000
  return slot.data.invalidated != RS_INVAL_NONE;
#else
  return slot.data.invalidated_at != InvalidXLogRecPtr && slot.data.restart_lsn == InvalidXLogRecPtr;
#endif
}

// True if `slot` is synchronized from the primary of this standby.
inline bool is_synced(const ReplicationSlot& slot) {
#if PG_VERSION_NUM >= 170000
  return slot.data.synced && RecoveryInProgress();
#else
  (void)slot;
  return false;
#endif
}

// Number of transactions with an id that ended since server start; the server counts them to tell whether a
// snapshot is still valid. Reads without ProcArrayLock, because it only has to differ after one more
// transaction.
inline std::uint64_t ended_transactions() {
#if PG_VERSION_NUM >= 170000
  return *const_cast<const volatile uint64*>(&TransamVariables->xactCompletionCount);
#else
  return *const_cast<const volatile uint64*>(&ShmemVariableCache->xactCompletionCount);
#endif
}

// Number of connections available to roles without privileges.
inline int ordinary_connection_limit() {
#if PG_VERSION_NUM >= 160000
  return MaxConnections - SuperuserReservedConnections - ReservedConnections;
#else
  return MaxConnections - ReservedBackends;
#endif
}

// Allocates memory that the settings machinery frees by itself. Returns NULL if there is none.
inline void* guc_extra_allocate(std::size_t size) {
#if PG_VERSION_NUM >= 160000
  return guc_malloc(LOG, size);
#else
  return malloc(size);
#endif
}

// Call it when all columns of a tuple descriptor are set.
inline void finish_description(TupleDesc description) {
#if PG_VERSION_NUM >= 190000
  TupleDescFinalize(description);
#else
  (void)description;
#endif
}

// Registers the name that a worker's sleep has in pg_stat_activity.wait_event. May ereport.
inline uint32 new_wait_event(const char* name) {
#if PG_VERSION_NUM >= 170000
  return WaitEventExtensionNew(name);
#else
  (void)name;
  return PG_WAIT_EXTENSION;
#endif
}

}  // namespace pgleak::compat

#endif
