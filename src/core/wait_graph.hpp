// The lock waits of one moment as a graph, and the number of sessions that wait behind one of them.
//
// pg/lock_table fills it, in memory that the caller provides. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_WAIT_GRAPH_HPP
#define PGLEAK_CORE_WAIT_GRAPH_HPP

#include <cstddef>
#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// A set of lock modes, one bit for each.
using LockModes = std::uint32_t;
inline constexpr int kLockModes = 10;  // modes are numbered from 0 to this, exclusive

// What waits behind one session.
struct Blocked {
  std::int32_t sessions;  // directly or through others
  WallTime since;         // start of the longest of these waits; none: no wait, or not known yet
};

// One session that waits, and the wait through which it is behind a root.
struct Behind {
  std::int32_t node;
  std::int32_t depth;  // 1: waits for the root itself; 0: no root was asked for
  std::int32_t lock;   // as begin_lock() has numbered it
  std::int32_t mode;
  WallTime since;  // none: not known yet
};

// A session waits for those who hold the lock in a mode that conflicts with its request (hard edges), and for
// those ahead of it in the queue whose request conflicts (soft edges). A node is a session: the processes of
// a parallel query share one, so that they do not block each other and count once. A prepared transaction is
// also a node, without a session.
//
// The edges are never stored, because a queue of n sessions has n * n / 2 of them. The graph stores the
// holders and the queue of each lock, and a query about one session walks each queue once per mode.
class WaitGraph {
 public:
  // Bytes needed for a graph of `node_count` nodes, aligned as by malloc.
  static std::size_t size_in_memory(int node_count);
  void attach(void* memory, int node_count);

  bool is_empty() const { return lock_count_ == 0; }
  void clear();

  // --- building: one contended lock after the other ---

  // Returns the number of the lock, counted from 0; -1 if it does not fit.
  int begin_lock();

  // Appends a waiter to the queue of the current lock; `since` none: not known yet.
  void add_waiter(int node, int mode, LockModes conflicting, WallTime since);

  // Adds a holder of the current lock, in these modes.
  void add_holder(int node, LockModes modes);

  // False if there were more holders than fit; then the results are lower bounds.
  bool is_complete() const { return is_complete_; }

  // --- querying ---

  // The sessions that wait behind `node`. None if it waits itself: the blame belongs to the sessions at the
  // root of the chain, each for all that wait behind it.
  Blocked blocked_behind(int node);

  // The sessions that the last blocked_behind() has counted, those nearest to the root first;
  // 0 <= i < Blocked::sessions. Of sessions that are equally near, those ahead in a queue come first.
  Behind nth_behind(int i) const;

  // The first node at or after `from` that holds a contended lock and waits for nobody; -1 if there is none.
  // blocked_behind() tells whether it keeps anybody waiting.
  int next_root(int from) const;

  bool waits(int node) const { return nodes_[node].first_wait != kNone; }

  // A wait of a node that waits.
  Behind wait_of(int node) const;

  // Calls visit(node) once for each node that waits.
  template <typename Visit>
  void for_each_waiting(Visit visit) const {
    for (int i = 0; i < wait_count_; i++)
      if (nodes_[waits_[i].node].first_wait == i) visit(waits_[i].node);
  }

  // The modes in which `node` holds the lock; 0: it does not.
  LockModes held_modes(int node, int lock) const;

  // The node at the end of a chain that starts at `node`, which waits: it keeps others waiting and waits for
  // nobody. The nearest one if there are several; -1 if `node` does not wait, or in a deadlock.
  int root_of(int node);

 private:
  static constexpr std::int32_t kNone = -1;

  struct Node {
    std::int32_t first_wait;
    std::int32_t first_hold;
    std::uint32_t seen_by;      // the last query that visited this node
    std::int32_t seen_through;  // the wait through which it did; kNone: it began here
    std::int32_t depth;         // number of waits from where it began
  };
  static constexpr Node kNewNode{kNone, kNone, 0, kNone, 0};
  struct Wait {
    WallTime since;
    std::int32_t node;
    std::int32_t lock;
    std::int32_t next_of_node;  // more than one only in a parallel query
    std::int32_t mode;
    LockModes conflicting;
  };
  struct Hold {
    std::int32_t node;
    std::int32_t lock;
    std::int32_t next_of_node;
    LockModes modes;
  };
  struct Lock {
    std::int32_t first_wait;  // its queue is waits_[first_wait .. end_wait)
    std::int32_t end_wait;
    std::int32_t first_hold;  // its holders are holds_[first_hold .. end_hold)
    std::int32_t end_hold;
    std::uint32_t seen_by;
    std::int32_t swept_from[kLockModes];  // from here to the end, the queue was searched for that mode
  };

  static int hold_capacity(int node_count);

  void see(std::int32_t node, std::int32_t through, std::int32_t depth);
  void sweep(std::int32_t lock_number, std::int32_t from, LockModes modes, std::int32_t depth);
  Behind describe(std::int32_t wait, std::int32_t depth) const;

  Node* nodes_;
  Wait* waits_;
  Hold* holds_;
  Lock* locks_;
  std::int32_t* found_;  // the nodes that the query has visited, in breadth-first order
  std::int32_t node_count_;
  std::int32_t wait_count_;
  std::int32_t hold_count_;
  std::int32_t lock_count_;
  std::int32_t current_lock_;  // the lock started last; kNone: it did not fit
  std::int32_t found_count_;
  std::uint32_t question_;
  bool is_complete_;
};

}  // namespace pgleak

#endif
