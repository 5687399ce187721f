// Lamport's queue for a single producer and a single consumer: which process may touch which place, and when.
// The places themselves belong to the caller. Lives in shared memory.
//
// Never allocates, blocks, loops or ereports.
#ifndef PGLEAK_CORE_SPSC_RING_HPP
#define PGLEAK_CORE_SPSC_RING_HPP

#include <atomic>
#include <cstdint>

#include "core/assert.hpp"

namespace pgleak {

// Counts the elements ever put in and ever taken out; the place of an element is its number modulo the
// capacity. An element stays the consumer's until finish_read(), so it survives a consumer that fails or is
// restarted before that.
class SpscRing {
 public:
  // Number of waiting elements.
  std::uint64_t size() const {
    return head_.load(std::memory_order_acquire) - tail_.load(std::memory_order_acquire);
  }

  // Elements ever put in, and ever taken out.
  std::uint64_t put_in() const { return head_.load(std::memory_order_acquire); }
  std::uint64_t taken_out() const { return tail_.load(std::memory_order_acquire); }

  // Producer: number of the element to write next. Only if !is_full().
  std::uint64_t next_to_write() const { return head_.load(std::memory_order_relaxed); }
  bool is_full(std::uint64_t capacity) const { return size() >= capacity; }
  // Producer: the element next_to_write() is complete, and the consumer may read it.
  void finish_write() { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  // Consumer: number of the oldest waiting element. Only if size() > 0.
  std::uint64_t next_to_read() const { return tail_.load(std::memory_order_relaxed); }
  // Consumer: returns the places of the `count` oldest elements to the producer.
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
