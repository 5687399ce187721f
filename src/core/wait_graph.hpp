// Owns: who waits for whom: the lock waits of one moment as a graph, and how many sessions wait behind one.
// Filled by server/lock_waits from the lock table, asked by the scanner. Works in memory that the caller
// gives; must never allocate or know the server. Never ereports.
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
  std::int32_t sessions;  // directly and through others
  WallTime since;         // since when the longest of them waits; none if none does or has said it yet
};

// A session waits for those who hold the lock in a mode that conflicts with its request (hard edges), and for
// those ahead of it in the lock's queue whose request does (soft edges). A node is a session: the processes
// of a parallel query are one, so that they do not block each other and count once. A prepared transaction is
// a node too, of no session.
//
// The edges are never made, for one queue of n sessions has n * n / 2: the graph knows for each lock its
// holders and its queue, and a question about one session walks each queue once for each mode.
class WaitGraph {
 public:
  // Bytes that a graph of `node_count` nodes needs, aligned as malloc does.
  static std::size_t size_in_memory(int node_count);
  void attach(void* memory, int node_count);

  bool is_empty() const { return lock_count_ == 0; }
  void clear();

  // --- building: one contended lock after the other ---

  void begin_lock();

  // The next one in the queue of the lock begun last, in the order of the queue; `since` none: not known yet.
  void add_waiter(int node, int mode, LockModes conflicting, WallTime since);

  // One that holds the lock begun last in these modes.
  void add_holder(int node, LockModes modes);

  // False if there were more holders than fit: the answers are lower bounds then.
  bool is_complete() const { return is_complete_; }

  // --- asking ---

  // How many sessions wait behind `node`. None if it waits itself: then not it is to blame but those at the
  // root of the chain, each of them for all that wait behind it.
  Blocked blocked_behind(int node);

 private:
  static constexpr std::int32_t kNone = -1;

  struct Node {
    std::int32_t first_wait;
    std::int32_t first_hold;
    std::uint32_t seen_by;  // the question that has been here
  };
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
    std::uint32_t seen_by;
    std::int32_t swept_from[kLockModes];  // from here to its end the queue was searched for that mode
  };

  static int hold_capacity(int node_count);

  void see(std::int32_t node);
  void sweep(std::int32_t lock_number, std::int32_t from, LockModes modes);

  Node* nodes_;
  Wait* waits_;
  Hold* holds_;
  Lock* locks_;
  std::int32_t* found_;  // the nodes that the question has come to, in the order of a breadth-first search
  std::int32_t node_count_;
  std::int32_t wait_count_;
  std::int32_t hold_count_;
  std::int32_t lock_count_;
  std::int32_t current_lock_;  // the one begun last; kNone if it did not fit
  std::int32_t found_count_;
  std::uint32_t question_;
  bool is_complete_;
};

}  // namespace pgleak

#endif
