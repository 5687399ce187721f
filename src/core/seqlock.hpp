// SeqLock: a value that one process writes and others read without a lock, always whole. Lives in shared
// memory.
//
// Never allocates, blocks or ereports; a reader gives up after a bounded number of tries.
#ifndef PGLEAK_CORE_SEQLOCK_HPP
#define PGLEAK_CORE_SEQLOCK_HPP

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "core/assert.hpp"
#include "core/racing_copy.hpp"

namespace pgleak {

// The protocol is that of the server's st_changecount: the version is odd during a write and differs after
// it. The writer never waits, so even the scanner can be the writer.
template <typename Value>
class SeqLock {
  static_assert(std::is_trivially_copyable<Value>::value, "lives in shared memory");

 public:
  // The writer's own view. Only the writer may call this.
  const Value& current() const { return value_; }

  // Changes the value by calling change(Value*), which must neither fail nor call the server: readers would
  // be locked out for good.
  template <typename Change>
  void write(Change change) {
    PGLEAK_ASSERT((version_.load(std::memory_order_relaxed) & 1) == 0);  // no nested writes
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    change(&value_);
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // Copies the value whole. Returns false if a writer interfered kReadTries times.
  bool read(Value* copy) const {
    for (int i = 0; i < kReadTries; i++) {
      const std::uint32_t before = version_.load(std::memory_order_acquire);
      if (before & 1) continue;
      copy_racing(copy, value_);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (version_.load(std::memory_order_relaxed) == before) return true;
    }
    return false;
  }

 private:
  static constexpr int kReadTries = 1000;

  std::atomic<std::uint32_t> version_;
  Value value_;
};

}  // namespace pgleak

#endif
