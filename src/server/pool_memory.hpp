// Owns: the part of shared memory in which the pools are. Written by the scanner (the pools) and the recorder
// (their limits), read by pgleak.pools without a lock. Must never allocate, block or ereport.
#ifndef PGLEAK_SERVER_POOL_MEMORY_HPP
#define PGLEAK_SERVER_POOL_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/pool.hpp"
#include "core/pool_advice.hpp"
#include "core/pool_table.hpp"
#include "core/ring.hpp"
#include "core/versioned.hpp"

namespace pgleak {

// One pool, the sessions without an entry (kOtherPool), or all sessions (kServerPool).
struct Pool {
  bool is_used;
  std::uint32_t database_oid;
  SessionIdentity who;  // without a port; empty for kOtherPool and kServerPool
  PoolState state;
};

// CONNECTION LIMITs as the catalogs have them; 0: none, or none for this role because it is a superuser. Of
// the pool that these identifiers name, which need not be the one in the entry any more.
struct PoolLimits {
  std::uint32_t database_oid;
  std::uint32_t role_oid;
  std::int32_t database_limit;
  std::int32_t role_limit;
};

// A verdict on a pool that has changed, for the recorder to tell.
struct VerdictNotice {
  PoolScope scope;
  SessionIdentity who;  // of kPool
  Verdict verdict;
  Verdict before;
  PoolCounts counts;
  std::int32_t used;
  std::int32_t capacity;  // 0: not known
};

// From the scanner to the recorder. Apart from the queue of events: what waits there must not be crowded out
// by news.
class NoticeQueue {
 public:
  // Scanner. If the queue is full the notice is dropped: the log has it.
  void put(const VerdictNotice& notice) {
    if (ring_.is_full(kCapacity)) return;
    notices_[ring_.next_to_write() % kCapacity] = notice;
    ring_.finish_write();
  }

  // Recorder: the `index`-th notice waiting, 0 being the oldest; index < waiting().
  const VerdictNotice& peek(std::uint64_t index) const {
    return notices_[(ring_.next_to_read() + index) % kCapacity];
  }
  std::uint64_t waiting() const { return ring_.size(); }
  void finish_oldest(std::uint64_t count) { ring_.finish_read(count); }

 private:
  static constexpr std::uint64_t kCapacity = 64;

  Ring ring_;
  VerdictNotice notices_[kCapacity];
};

struct PoolMemory {
  std::atomic<std::uint64_t> begun;  // entries of `pools` that were taken for a new pool, so far
  Versioned<Pool> pools[kPoolEntryCount];
  Versioned<PoolLimits> limits[kPoolCount];
  NoticeQueue notices;
};

}  // namespace pgleak

#endif
