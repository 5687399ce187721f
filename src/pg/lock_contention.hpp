// Which locks a process holds and who waits behind it, by name, for the few leaks about which this is asked.
//
// The scanner calls it. Locks taken: one partition lock of the lock table at a time, shared, and only for
// partitions in which the process has locks. Allocates nothing, never ereports.
#ifndef PGLEAK_PG_LOCK_CONTENTION_HPP
#define PGLEAK_PG_LOCK_CONTENTION_HPP

#include "core/contention.hpp"

namespace pgleak {

// Reads the contended and the strongest locks of the process at `proc_index` in ProcGlobal->allProcs, on the
// fast path too. Leaves out the locks of a transaction on its own ids that nobody waits for, because every
// transaction has them.
void read_held_locks(int proc_index, HeldLocks* held);

// Reads the nearest of those who wait behind it, by the lock waits that this scan has read.
void read_waiting_sessions(int proc_index, WaitingSessions* waiting);

}  // namespace pgleak

#endif
