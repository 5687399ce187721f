#include "pg/lock_table.hpp"

#include "core/prefetch.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr int kNoProc = -1;

constexpr Blocked kNobodyBlocked{0, WallTime::none()};

// One process, by its position in ProcGlobal->allProcs.
struct Waiter {
  int next;         // next in the chain of its partition; kNoProc: the last
  uint32 added_in;  // number of the read that put it into the graph
};

WaitGraph graph;
Waiter* waiters = nullptr;
int first_waiter[NUM_LOCK_PARTITIONS];  // per partition: chain of the processes that seem to wait
uint32 reading = 0;                     // number of times the lock table was read
bool is_current = false;

int index_of(const PGPROC* proc) { return static_cast<int>(proc - ProcGlobal->allProcs); }

// The node of a process: its own or, in a parallel query, that of the leader. A worker joins the group before
// its first lock and stays in it until its last, so this is correct under the lock of a partition in which
// the worker holds or awaits something.
int node_of(const PGPROC* proc) {
  const PGPROC* leader = proc->lockGroupLeader;
  return index_of(leader == nullptr ? proc : leader);
}

// Puts every process that seems to wait for a lock into the chain of that lock's partition. Returns false if
// none does. Nothing is locked, so the process may have moved on and the lock may be another one by now: the
// chains only say where to look.
bool find_waiters() {
  bool is_any = false;
  for (int& first : first_waiter) first = kNoProc;
  for (int i = 0; i < static_cast<int>(ProcGlobal->allProcCount); i++) {
    LOCK* const lock = *const_cast<LOCK* volatile*>(&ProcGlobal->allProcs[i].waitLock);
    if (lock == nullptr) continue;
    const LOCKTAG tag = lock->tag;  // a lock, or what was one: the memory stays mapped
    const uint32 partition = LockHashPartition(LockTagHashCode(&tag));
    waiters[i].next = first_waiter[partition];
    first_waiter[partition] = i;
    is_any = true;
  }
  return is_any;
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

void add_lock(LOCK* lock) {
  Assert(LWLockHeldByMe(LockHashPartitionLock(LockTagHashCode(&lock->tag))));
  const LockMethod method = GetLockTagsMethodTable(&lock->tag);
  LOCKMASK conflicting_with_any = 0;
  graph.begin_lock();
  compat::for_each_waiter(lock, [method, &conflicting_with_any](PGPROC* waiter) {
    const LOCKMASK conflicting = method->conflictTab[waiter->waitLockMode];
    conflicting_with_any |= conflicting;
    waiters[index_of(waiter)].added_in = reading;
    graph.add_waiter(node_of(waiter), waiter->waitLockMode, static_cast<LockModes>(conflicting),
                     from_timestamp(static_cast<TimestampTz>(pg_atomic_read_u64(&waiter->waitStart))));
  });
  compat::for_each_holder(lock, [conflicting_with_any](PROCLOCK* held) {
    if ((held->holdMask & conflicting_with_any) == 0) return;
    graph.add_holder(node_of(held->tag.myProc), static_cast<LockModes>(held->holdMask));
  });
}

// Nobody waits for a lock on the fast path: a process that has to wait for one first moves it into the lock
// table.
void read_lock_table() {
  static_assert(MAX_LOCKMODES <= kLockModes, "the graph has room for each of the server's lock modes");
  graph.clear();
  reading++;
  if (!find_waiters()) return;
  for (int partition = 0; partition < NUM_LOCK_PARTITIONS; partition++) {
    if (first_waiter[partition] == kNoProc) continue;
    LWLock* const partition_lock = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(partition_lock, LW_SHARED);
    for (int i = first_waiter[partition]; i != kNoProc; i = waiters[i].next) {
      if (waiters[i].added_in == reading) continue;  // added with the rest of its queue
      LOCK* const lock = awaited_lock(&ProcGlobal->allProcs[i], partition);
      if (lock != nullptr) add_lock(lock);
    }
    LWLockRelease(partition_lock);
  }
}

Blocked blocked_behind(int proc_index) {
  if (waiters == nullptr) return kNobodyBlocked;
  if (!is_current) {
    read_lock_table();
    is_current = true;
  }
  return graph.is_empty() ? kNobodyBlocked : graph.blocked_behind(proc_index);
}

// Returns the process id of the session at the root of the chain that `proc` waits in; 0 for a prepared
// transaction, or if it is unknown.
std::int32_t root_pid_of(const PGPROC* proc) {
  if (waiters == nullptr) return 0;
  if (!is_current) {
    read_lock_table();
    is_current = true;
  }
  const int root = graph.is_empty() ? kNoProc : graph.root_of(node_of(proc));
  return root == kNoProc ? 0 : ProcGlobal->allProcs[root].pid;
}

bool is_own_virtual_lock(const PROCLOCK* held) {
  return static_cast<LockTagType>(held->tag.myLock->tag.locktag_type) == LOCKTAG_VIRTUALTRANSACTION;
}

struct HeldLocks {
  int count;
  bool may_block;  // somebody may wait for one of them
};

// Nobody waits for a lock on the fast path: a process that has to wait for one first moves it into the lock
// table.
HeldLocks read_locks(PGPROC* proc) {
  // The other processes of a parallel query hold locks too.
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

void prepare_lock_waits() {
  const int count = compat::proc_count();
  waiters = static_cast<Waiter*>(
      MemoryContextAllocZero(TopMemoryContext, static_cast<Size>(count) * sizeof(Waiter)));
  graph.attach(MemoryContextAlloc(TopMemoryContext, WaitGraph::size_in_memory(count)), count);
}

void forget_lock_waits() { is_current = false; }

void prefetch_held_resources(int proc_index) { prefetch(&ProcGlobal->allProcs[proc_index]); }

bool read_held_resources(int proc_index, int pid, HeldResources* held) {
  Assert(proc_index >= 0 && proc_index < static_cast<int>(ProcGlobal->allProcCount));
  PGPROC* const proc = &ProcGlobal->allProcs[proc_index];

  const HeldLocks locks = read_locks(proc);
  const Blocked blocked = locks.may_block ? blocked_behind(proc_index) : kNobodyBlocked;
  // Read the next transaction id last, so that those held are older.
  const TransactionId xid = *const_cast<volatile TransactionId*>(&proc->xid);
  // VACUUM and a safe CREATE INDEX CONCURRENTLY ignore each other's snapshots, and so does every other
  // VACUUM.
  const bool holds_horizon = (proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_SAFE_IC)) == 0;
  const TransactionId xmin =
      holds_horizon ? *const_cast<volatile TransactionId*>(&proc->xmin) : InvalidTransactionId;
  const bool waits = *const_cast<LOCK* volatile*>(&proc->waitLock) != nullptr;
  *held = HeldResources{xid,           xmin,
                        locks.count,   blocked.sessions,
                        blocked.since, compat::next_transaction_id(),
                        waits,         waits ? root_pid_of(proc) : 0};
  // The process id is set first and cleared last: if it is unchanged, the rest was the session's.
  return proc->pid == pid;
}

}  // namespace pgleak
