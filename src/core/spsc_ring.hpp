// Owns: who may touch which place of a queue between exactly one producer and one consumer process.
// Used by server/event_queue, which owns the places themselves. Lives in shared memory.
// Must never allocate, block or loop. Never ereports.
#ifndef PGLEAK_CORE_SPSC_RING_HPP
#define PGLEAK_CORE_SPSC_RING_HPP

#include <atomic>
#include <cstdint>

#include "core/assert.hpp"

namespace pgleak {

// Counts events ever put in and ever taken out; an event's place is its number modulo the capacity.
// What the consumer has read stays the consumer's until it says that it is done: an event survives a
// consumer that fails or is restarted in between (Lamport's single-producer single-consumer queue).
class SpscRing {
 public:
  // Number of events waiting.
  std::uint64_t size() const {
    return head_.load(std::memory_order_acquire) - tail_.load(std::memory_order_acquire);
  }

  // Events ever put in, and ever taken out.
  std::uint64_t put_in() const { return head_.load(std::memory_order_acquire); }
  std::uint64_t taken_out() const { return tail_.load(std::memory_order_acquire); }

  // Producer: number of the event to write next. Only if !is_full().
  std::uint64_t next_to_write() const { return head_.load(std::memory_order_relaxed); }
  bool is_full(std::uint64_t capacity) const { return size() >= capacity; }
  // Producer: the event next_to_write() is complete; the consumer may read it.
  void finish_write() { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  // Consumer: number of the oldest event waiting. Only if size() > 0.
  std::uint64_t next_to_read() const { return tail_.load(std::memory_order_relaxed); }
  // Consumer: the `count` oldest events are done with; their places are the producer's again.
  void finish_read(std::uint64_t count) {
    PGLEAK_ASSERT(count <= size());  // the tail never overtakes the head
    tail_.store(tail_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }

 private:
  std::atomic<std::uint64_t> head_;
  std::atomic<std::uint64_t> tail_;
};

}  // namespace pgleak

#endif
