#include "core/wait_graph.hpp"

#include "core/assert.hpp"

namespace pgleak {

// A process waits for one lock at a time and has room for one node, even if it has none of its own as a
// member of a parallel query. So there are at most as many waits, and locks with waits, as nodes. Holders are
// not bounded like that: every session may hold every contended lock.
int WaitGraph::hold_capacity(int node_count) { return 4 * node_count + 1024; }

std::size_t WaitGraph::size_in_memory(int node_count) {
  const std::size_t nodes = static_cast<std::size_t>(node_count);
  return nodes * (sizeof(Wait) + sizeof(Lock) + sizeof(Node) + sizeof(std::int32_t)) +
         static_cast<std::size_t>(hold_capacity(node_count)) * sizeof(Hold);
}

// The type with the strictest alignment comes first, and the size of each array is a multiple of the
// alignment of the next.
void WaitGraph::attach(void* memory, int node_count) {
  static_assert(alignof(Wait) >= alignof(Lock), "the arrays follow each other without gaps");
  static_assert(alignof(Lock) == 4 && alignof(Node) == 4 && alignof(Hold) == 4, "and so do these");
  waits_ = static_cast<Wait*>(memory);
  locks_ = reinterpret_cast<Lock*>(waits_ + node_count);
  nodes_ = reinterpret_cast<Node*>(locks_ + node_count);
  found_ = reinterpret_cast<std::int32_t*>(nodes_ + node_count);
  holds_ = reinterpret_cast<Hold*>(found_ + node_count);
  node_count_ = node_count;
  wait_count_ = 0;
  hold_count_ = 0;
  for (int i = 0; i < node_count; i++) nodes_[i] = kNewNode;
  clear();
}

// Resets only what was used, which is cheaper than all nodes when few wait.
void WaitGraph::clear() {
  for (int i = 0; i < wait_count_; i++) nodes_[waits_[i].node] = kNewNode;
  for (int i = 0; i < hold_count_; i++) nodes_[holds_[i].node] = kNewNode;
  wait_count_ = 0;
  hold_count_ = 0;
  lock_count_ = 0;
  current_lock_ = kNone;
  found_count_ = 0;
  question_ = 0;
  is_complete_ = true;
}

int WaitGraph::begin_lock() {
  current_lock_ = kNone;
  if (lock_count_ == node_count_) {
    is_complete_ = false;
    return kNone;
  }
  current_lock_ = lock_count_++;
  locks_[current_lock_] = Lock{wait_count_, wait_count_, hold_count_, hold_count_, 0, {}};
  return current_lock_;
}

void WaitGraph::add_waiter(int node, int mode, LockModes conflicting, WallTime since) {
  PGLEAK_ASSERT(node >= 0 && node < node_count_ && mode >= 0 && mode < kLockModes);
  if (wait_count_ == node_count_ || current_lock_ == kNone) {
    is_complete_ = false;
    return;
  }
  waits_[wait_count_] = Wait{since, node, current_lock_, nodes_[node].first_wait, mode, conflicting};
  nodes_[node].first_wait = wait_count_++;
  locks_[current_lock_].end_wait = wait_count_;
}

void WaitGraph::add_holder(int node, LockModes modes) {
  PGLEAK_ASSERT(node >= 0 && node < node_count_);
  if (hold_count_ == hold_capacity(node_count_) || current_lock_ == kNone) {
    is_complete_ = false;
    return;
  }
  holds_[hold_count_] = Hold{node, current_lock_, nodes_[node].first_hold, modes};
  nodes_[node].first_hold = hold_count_++;
  locks_[current_lock_].end_hold = hold_count_;
}

void WaitGraph::see(std::int32_t node, std::int32_t through, std::int32_t depth) {
  if (nodes_[node].seen_by == question_) return;
  nodes_[node].seen_by = question_;
  nodes_[node].seen_through = through;
  nodes_[node].depth = depth;
  found_[found_count_++] = node;
}

// Visits everyone in the queue of a lock, from wait `from` on, whose request conflicts with one of `modes`.
// What was searched for a mode is not searched for it again, whichever session holds or requests it.
void WaitGraph::sweep(std::int32_t lock_number, std::int32_t from, LockModes modes, std::int32_t depth) {
  Lock& lock = locks_[lock_number];
  if (lock.seen_by != question_) {
    lock.seen_by = question_;
    for (std::int32_t& swept_from : lock.swept_from) swept_from = lock.end_wait;
  }
  for (int mode = 0; mode < kLockModes; mode++) {
    if ((modes >> mode & 1) == 0) continue;
    for (std::int32_t i = from; i < lock.swept_from[mode]; i++)
      if (waits_[i].conflicting >> mode & 1) see(waits_[i].node, i, depth);
    if (from < lock.swept_from[mode]) lock.swept_from[mode] = from;
  }
}

Blocked WaitGraph::blocked_behind(int node) {
  Blocked blocked{0, WallTime::none()};
  if (nodes_[node].first_hold == kNone || nodes_[node].first_wait != kNone) return blocked;

  question_++;
  found_count_ = 0;
  see(node, kNone, 0);
  for (int i = 0; i < found_count_; i++) {
    const Node& found = nodes_[found_[i]];
    const std::int32_t depth = found.depth + 1;
    for (std::int32_t h = found.first_hold; h != kNone; h = holds_[h].next_of_node)
      sweep(holds_[h].lock, locks_[holds_[h].lock].first_wait, holds_[h].modes, depth);
    for (std::int32_t w = found.first_wait; w != kNone; w = waits_[w].next_of_node) {
      const Wait& wait = waits_[w];
      sweep(wait.lock, w + 1, LockModes{1} << wait.mode, depth);
      if (wait.since.is_set() && (!blocked.since.is_set() || wait.since < blocked.since))
        blocked.since = wait.since;
    }
  }
  blocked.sessions = found_count_ - 1;
  return blocked;
}

Behind WaitGraph::describe(std::int32_t wait_number, std::int32_t depth) const {
  const Wait& wait = waits_[wait_number];
  return Behind{wait.node, depth, wait.lock, wait.mode, wait.since};
}

Behind WaitGraph::nth_behind(int i) const {
  PGLEAK_ASSERT(i >= 0 && i + 1 < found_count_);
  const Node& node = nodes_[found_[i + 1]];
  return describe(node.seen_through, node.depth);
}

int WaitGraph::next_root(int from) const {
  for (int i = from; i < node_count_; i++)
    if (nodes_[i].first_hold != kNone && nodes_[i].first_wait == kNone) return i;
  return kNone;
}

Behind WaitGraph::wait_of(int node) const {
  PGLEAK_ASSERT(waits(node));
  return describe(nodes_[node].first_wait, 0);
}

LockModes WaitGraph::held_modes(int node, int lock) const {
  LockModes modes = 0;
  for (std::int32_t h = nodes_[node].first_hold; h != kNone; h = holds_[h].next_of_node)
    if (holds_[h].lock == lock) modes |= holds_[h].modes;
  return modes;
}

// Breadth first, so that the nearest root is found.
int WaitGraph::root_of(int node) {
  question_++;
  found_count_ = 0;
  see(node, kNone, 0);
  for (int i = 0; i < found_count_; i++) {
    const std::int32_t depth = nodes_[found_[i]].depth + 1;
    const std::int32_t first_wait = nodes_[found_[i]].first_wait;
    if (first_wait == kNone && i > 0) return found_[i];
    for (std::int32_t w = first_wait; w != kNone; w = waits_[w].next_of_node) {
      const Wait& wait = waits_[w];
      const Lock& lock = locks_[wait.lock];
      for (std::int32_t h = lock.first_hold; h < lock.end_hold; h++)
        if (holds_[h].node != found_[i] && (holds_[h].modes & wait.conflicting) != 0)
          see(holds_[h].node, w, depth);
      for (std::int32_t ahead = lock.first_wait; ahead < w; ahead++)
        if (wait.conflicting >> waits_[ahead].mode & 1) see(waits_[ahead].node, w, depth);
    }
  }
  return kNone;
}

}  // namespace pgleak
