// Who waits for which lock, read from the server's lock table into a wait graph, and whom replay on a standby
// waits for.
//
// The scanner has one reader for its life; pgleak.read_waits() makes one per call. Locks taken: one partition
// lock of the lock table at a time, shared, and only for partitions in which somebody waits. Sees every
// process that can wait or hold: client backends, walsenders, autovacuum, the startup process of a standby,
// and the processes of prepared transactions. Never ereports, except in allocate().
#ifndef PGLEAK_PG_LOCK_WAITS_HPP
#define PGLEAK_PG_LOCK_WAITS_HPP

#include <cstdint>

#include "core/replay_watch.hpp"
#include "core/wait_graph.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
#include "storage/proc.h"
}

namespace pgleak {

// A process that waits, or holds what others wait for, as it was when its lock was read.
struct LockProcess {
  std::int32_t pid;   // 0: a prepared transaction
  TransactionId xid;  // of a prepared transaction
};

// Trivially destructible; its memory goes with the context in which it was allocated.
class LockWaits {
 public:
  // Allocates the memory for all processes in the current memory context. May ereport (out of memory).
  void allocate();
  bool is_allocated() const { return waiters_ != nullptr; }

  // Reads the lock table, one partition after the other, so a wait that begins or ends at the same time may
  // be missing or still be there. If the startup process of a standby waits as `replay` says, adds that wait
  // and those who hold replay back. While these are not known, its wait has no root.
  void read(const ReplayWait& replay);

  // What was read. A node is a position in ProcGlobal->allProcs; the processes of a parallel query share
  // that of their leader.
  WaitGraph& graph() { return graph_; }
  const LOCKTAG& tag(int lock) const { return tags_[lock]; }
  const LockProcess& process(int node) const { return processes_[node]; }

 private:
  struct Waiter {
    int next;         // next in the chain of its partition; kNoProc: the last
    uint32 added_in;  // number of the read that put it into the graph
  };

  bool find_waiters();
  void read_lock_table();
  void add_lock(LOCK* lock);
  void add_replay(const ReplayWait& replay);
  int add_process(const PGPROC* proc);

  WaitGraph graph_;
  Waiter* waiters_;                        // by position in ProcGlobal->allProcs
  LockProcess* processes_;                 // by node
  LOCKTAG* tags_;                          // by number of the lock in the graph
  uint32 reading_;                         // number of times the lock table was read
  int first_waiter_[NUM_LOCK_PARTITIONS];  // per partition: chain of the processes that seem to wait
};

// True if some process seems to wait for a lock, or replay for a session. Nothing is locked, so it may have
// moved on.
bool is_anyone_waiting();

// The node of a process: its own or, in a parallel query, that of the leader. A worker joins the group before
// its first lock and stays in it until its last, so this is correct under the lock of a partition in which
// the worker holds or awaits something.
int node_of(const PGPROC* proc);

}  // namespace pgleak

#endif
