// Owns: a value that one process writes and others read without a lock, always whole.
// Used for the scanner's part of a session slot. Lives in shared memory.
// Must never allocate or block; a reader gives up after a bounded number of tries. Never ereports.
#ifndef PGLEAK_CORE_SEQLOCK_HPP
#define PGLEAK_CORE_SEQLOCK_HPP

#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/assert.hpp"

namespace pgleak {

// A sequence lock, the protocol of the server's own st_changecount: the version is odd while a write is
// under way and differs after it. The writer never waits, so it can be the scanner.
template <typename Value>
class SeqLock {
  static_assert(std::is_trivially_copyable<Value>::value, "lives in shared memory");

 public:
  // The writer's own view. Only the one writer may call this.
  const Value& current() const { return value_; }

  // Changes the value by calling change(Value*), which must not fail or call the server: nobody
  // could read the value any more.
  template <typename Change>
  void write(Change change) {
    PGLEAK_ASSERT((version_.load(std::memory_order_relaxed) & 1) == 0);  // no write inside a write
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    change(&value_);
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

  // Copies the value whole; false if a writer was in the way kReadTries times.
  bool read(Value* copy) const {
    for (int i = 0; i < kReadTries; i++) {
      const std::uint32_t before = version_.load(std::memory_order_acquire);
      if (before & 1) continue;
      std::memcpy(static_cast<void*>(copy), &value_, sizeof(Value));
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
