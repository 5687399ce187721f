// Adds up, for each pool, the times that the backends have counted in their slots (core/idle_times.hpp).
//
// Called with each sample of the pools, after the sessions were counted. Touches nothing but shared memory
// and its own memory, takes no lock, allocates nothing after its start.
#ifndef PGLEAK_SCANNER_IDLE_TIMES_HPP
#define PGLEAK_SCANNER_IDLE_TIMES_HPP

#include "core/pool_table.hpp"
#include "scanner/scan_context.hpp"

namespace pgleak {

// Allocates this process's memory, if idle times are tracked. May ereport (out of memory).
void prepare_idle_times();

// Call when entry `index` of the pools belongs to the pool with this key: a new one, or one that an earlier
// scanner knew.
void start_idle_times(int index, const PoolKey& key, bool is_new);

// Takes what the backends have counted since the last call.
void collect_idle_times(const ScanContext& scan);

}  // namespace pgleak

#endif
