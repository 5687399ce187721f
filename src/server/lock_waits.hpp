// Owns: who waits for whom in the server's lock table, read in place at most once for each look.
// Called by the scanner, and in other processes for pgleak.limits_for(). Reads nothing while no process waits
// for a lock; else holds one partition lock of the lock table at a time, shared. Must never allocate after
// its start, nor wait for anything on disk.
#ifndef PGLEAK_SERVER_LOCK_WAITS_HPP
#define PGLEAK_SERVER_LOCK_WAITS_HPP

#include "core/wait_graph.hpp"

namespace pgleak {

// Memory of this process. May ereport (out of memory).
void prepare_lock_waits();

// A new look begins: what was read of the lock table is stale.
void forget_lock_waits();

// How many sessions wait behind the process at `proc_index` in ProcGlobal->allProcs, directly or through
// others. Reads the lock table if this look has not. Its partitions are read one after the other: who comes
// or goes meanwhile may be missing or still be there. Knows of nobody in a process that has not prepared.
// Never ereports.
Blocked blocked_behind(int proc_index);

}  // namespace pgleak

#endif
