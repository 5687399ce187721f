// The pools in shared memory: the scanner writes them and their verdicts, the recorder writes their
// connection limits and sends the notifications, and pgleak.pools reads everything without a lock.
//
// Never allocates, blocks or ereports.
#ifndef PGLEAK_SHMEM_POOL_MEMORY_HPP
#define PGLEAK_SHMEM_POOL_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/pool.hpp"
#include "core/pool_advice.hpp"
#include "core/pool_table.hpp"
#include "core/seqlock.hpp"
#include "core/spsc_ring.hpp"
#include "pg/settings.hpp"

namespace pgleak {

// One pool, the sessions that found no entry, or all sessions.
struct Pool {
  bool is_used;
  PoolScope scope;
  std::uint32_t database_oid;
  // Without a port; empty unless it is a pool. The name is that of its application or, while several sessions
  // share one and no other has come, their own.
  SessionIdentity who;
  PoolState state;
};

// CONNECTION LIMITs from the catalogs; 0: none, or not applicable because the role is a superuser. They
// belong to the pool with these OIDs, which may no longer be the one in the entry.
struct PoolLimits {
  std::uint32_t database_oid;
  std::uint32_t role_oid;
  std::int32_t database_limit;
  std::int32_t role_limit;
};

// A changed verdict on a pool, for the recorder to send.
struct VerdictChange {
  PoolScope scope;
  SessionIdentity who;  // if it is of an application
  Verdict verdict;
  Verdict before;
  PoolCounts counts;
  std::int32_t used;
  std::int32_t capacity;  // 0: unknown
};

// From the scanner to the recorder. Separate from the event queue, because verdicts must not displace events.
class VerdictQueue {
 public:
  // Scanner. If the queue is full, the change is dropped; the log has it.
  void put(const VerdictChange& notice) {
    if (ring_.is_full(kCapacity)) return;
    changes_[ring_.next_to_write() % kCapacity] = notice;
    ring_.finish_write();
  }

  // Recorder: the `index`-th waiting change, 0 being the oldest; index < waiting().
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
  std::atomic<std::uint64_t> begun;  // number of times an entry was taken for a new pool
  std::atomic<std::int32_t> end;     // no entry of a pool from there on has ever been used
  VerdictQueue verdict_queue;
};

// The entries: one for each pool, then one for the sessions whose pool found no entry, then one for all
// sessions.
inline int pool_count() { return settings.max_pools; }
inline int other_pool() { return pool_count(); }
inline int server_pool() { return pool_count() + 1; }
inline int pool_entry_count() { return pool_count() + 2; }

SeqLock<Pool>& pool_entry(int index);         // index < pool_entry_count()
SeqLock<PoolLimits>& pool_limits(int index);  // index < pool_count()

std::size_t pool_memory_size();
void create_pool_memory();

inline constexpr std::size_t kAdviceSize = 1024;

// Who reads an advice.
struct AdviceReader {
  const char* lock;  // what PoolState::waits.blocker holds, by name as far as the reader knows it; or nullptr
  bool sees_blocker;  // may see the state of its session
};

// Writes the advice on the pool, or an empty string. Times are in the session's time zone; in a worker, in
// the server's TimeZone. Valid UTF-8 without control characters.
void write_advice(char (&advice)[kAdviceSize], const PoolState& state, PoolScope scope, AdviceReader reader);

}  // namespace pgleak

#endif
