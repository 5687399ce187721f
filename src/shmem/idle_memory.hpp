// The idle times in shared memory: a few banks for each session slot, written by its backend, and the sums
// for each pool, written by the scanner (core/idle_times.hpp). None of it is there if pgleak.track_idle_times
// is off.
//
// Never allocates, blocks or ereports, except for its creation.
#ifndef PGLEAK_SHMEM_IDLE_MEMORY_HPP
#define PGLEAK_SHMEM_IDLE_MEMORY_HPP

#include <atomic>
#include <cstdint>

#include "core/idle_times.hpp"
#include "core/seqlock.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

// The idle times of one pool, with what the samples of its sessions found.
struct PoolIdleTimes {
  WallTime since;  // when counting began; none: not yet
  IdleTimes times;
  // Sums over the samples, one a second, of the sessions that were in use, and of those of them that were
  // idle in a transaction.
  std::uint64_t used;
  std::uint64_t idle;
};

struct IdleMemory {
  std::atomic<std::uint32_t> resets;       // incremented by pgleak.reset()
  std::atomic<std::uint32_t> resets_done;  // by the scanner, which then empties all pools
};

// nullptr if idle times are not tracked.
extern IdleMemory* idle_memory;

// The banks of session slot `index`; nullptr if idle times are not tracked.
SlotIdleTimes* idle_times_of(int index);

// Those of the pool with entry `index`. Only if idle times are tracked.
SeqLock<PoolIdleTimes>& pool_idle_times(int index);

// The bytes that all of it takes, and its creation. The caller holds AddinShmemInitLock. May ereport.
Size idle_memory_size();
void create_idle_memory();

}  // namespace pgleak

#endif
