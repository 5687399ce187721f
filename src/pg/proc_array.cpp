#include <algorithm>

#include "pg/proc_array.hpp"

#include "core/prefetch.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "storage/lwlock.h"
#include "storage/proc.h"
}

namespace pgleak {

namespace {

// Reading a process takes so little time that the processor would mostly wait for memory.
constexpr int kPrefetchAhead = 8;

bool precedes(const ProcessPlace& a, const ProcessPlace& b) { return a.pid < b.pid; }

void find_place(ProcessPlace* places, int count, int pid, int proc_index) {
  ProcessPlace* place = std::lower_bound(places, places + count, ProcessPlace{pid, 0}, precedes);
  for (; place < places + count && place->pid == pid; place++) place->proc_index = proc_index;
}

bool holds_nothing_for_vacuum(const PGPROC* proc) {
  return (proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING)) != 0;
}

// A leader has itself as its leader. Workers join and leave a group under another lock, so this may be out of
// date by a moment.
bool is_parallel_worker(const PGPROC* proc) {
  const PGPROC* const leader = *const_cast<PGPROC* const volatile*>(&proc->lockGroupLeader);
  return leader != nullptr && leader != proc;
}

}  // namespace

int read_xid_holders(XidHolder* holders, ProcessPlace* places, int place_count) {
  std::sort(places, places + place_count, precedes);
  int count = 0;
  PGPROC* const procs = ProcGlobal->allProcs;
  const int proc_count = static_cast<int>(ProcGlobal->allProcCount);
  LWLockAcquire(ProcArrayLock, LW_SHARED);
  for (int i = 0; i < proc_count; i++) {
    if (i + kPrefetchAhead < proc_count) __builtin_prefetch(&procs[i + kPrefetchAhead].xid);
    const PGPROC* const proc = &procs[i];
    const int pid = proc->pid;
    if (pid == 0) continue;
    if (place_count > 0) find_place(places, place_count, pid, i);
    const TransactionId xid = *const_cast<const volatile TransactionId*>(&proc->xid);
    const TransactionId xmin = *const_cast<const volatile TransactionId*>(&proc->xmin);
    if (xid == InvalidTransactionId && xmin == InvalidTransactionId) continue;
    if (proc == MyProc || holds_nothing_for_vacuum(proc) || is_parallel_worker(proc)) continue;
    holders[count++] =
        XidHolder{i, pid, xid, xmin, proc->databaseId, (proc->statusFlags & PROC_AFFECTS_ALL_HORIZONS) != 0};
  }
  LWLockRelease(ProcArrayLock);
  return count;
}

bool has_subxact_overflow(int proc_index) {
  return *const_cast<const volatile bool*>(&ProcGlobal->allProcs[proc_index].subxidStatus.overflowed);
}

}  // namespace pgleak
