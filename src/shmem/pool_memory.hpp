// Owns: the part of shared memory in which the pools are. Written by the scanner (the pools) and the recorder
// (their limits), read by pgleak.pools without a lock. Must never allocate, block or ereport.
// Owns: the words in which a verdict on a pool is told: the log line, and the clock times of the advice.
// Called by the scanner, which holds no transaction, and by pgleak.pools.
// One event is one line that no name or statement can forge or break.
#ifndef PGLEAK_SHMEM_POOL_MEMORY_HPP
#define PGLEAK_SHMEM_POOL_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/pool.hpp"
#include "core/pool_advice.hpp"
#include "core/pool_table.hpp"
#include "core/seqlock.hpp"
#include "core/spsc_ring.hpp"

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
struct VerdictChange {
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
class VerdictQueue {
 public:
  // Scanner. If the queue is full the notice is dropped: the log has it.
  void put(const VerdictChange& notice) {
    if (ring_.is_full(kCapacity)) return;
    changes_[ring_.next_to_write() % kCapacity] = notice;
    ring_.finish_write();
  }

  // Recorder: the `index`-th notice waiting, 0 being the oldest; index < waiting().
  const VerdictChange& peek(std::uint64_t index) const {
    return changes_[(ring_.next_to_read() + index) % kCapacity];
  }
  std::uint64_t waiting() const { return ring_.size(); }
  void finish_oldest(std::uint64_t count) { ring_.finish_read(count); }

 private:
  static constexpr std::uint64_t kCapacity = 64;

  SpscRing ring_;
  VerdictChange changes_[kCapacity];
};

struct PoolMemory {
  std::atomic<std::uint64_t> begun;  // entries of `pools` that were taken for a new pool, so far
  SeqLock<Pool> pools[kPoolEntryCount];
  SeqLock<PoolLimits> limits[kPoolCount];
  VerdictQueue verdict_queue;
};

inline constexpr std::size_t kAdviceSize = 1024;

// What the entry at this position of PoolMemory is.
PoolScope pool_scope(int index);

// Writes the advice on the pool, or an empty string, with times as the session's time zone has them (in a
// worker: the server's TimeZone). Valid UTF-8, without control characters. Never ereports.
void write_advice(char (&advice)[kAdviceSize], const PoolState& state, PoolScope scope);

}  // namespace pgleak

#endif
