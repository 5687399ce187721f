// What one process holds, and who waits for it, read from the server's lock table in place.
//
// The scanner calls it for every open leak at every scan, and for other sessions when a rule asks for their
// impact; pgleak.limits_for() calls it in a client backend. Locks taken: one partition lock of the lock table
// at a time, shared, and only for partitions in which the process has locks or, if somebody waits for one of
// these, in which anybody waits. Allocates nothing after prepare_lock_waits(), waits for nothing on disk,
// never ereports.
#ifndef PGLEAK_PG_LOCK_TABLE_HPP
#define PGLEAK_PG_LOCK_TABLE_HPP

#include "core/impact.hpp"
#include "core/replay_watch.hpp"
#include "core/wait_graph.hpp"

namespace pgleak {

// Allocates this process's wait graph. May ereport (out of memory).
void prepare_lock_waits();

// Starts a new scan: what was read of the lock table is stale. `replay` is the wait of replay on a standby.
void forget_lock_waits(const ReplayWait& replay);

// Reads what the process at `proc_index` in ProcGlobal->allProcs holds. Returns false if it is no longer
// `pid`. HeldResources::listens stays false: that is not the server's to tell. HeldResources::blocked counts
// all sessions that wait behind it, directly or through others. The lock table is read at most once per scan,
// one partition after the other, so a session that comes or goes at the same time may be missing or still be
// counted. Without prepare_lock_waits(), a process sees no waiters.
bool read_held_resources(int proc_index, int pid, HeldResources* held);

// What was read of the lock waits in this scan, or is read now; nullptr without prepare_lock_waits().
class LockWaits;
LockWaits* current_lock_waits();

// Prefetches what read_held_resources() will read.
void prefetch_held_resources(int proc_index);

}  // namespace pgleak

#endif
