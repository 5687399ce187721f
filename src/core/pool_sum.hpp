// Adds up the samples of an application's pools at several addresses.
//
// Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_SUM_HPP
#define PGLEAK_CORE_POOL_SUM_HPP

#include "core/pool.hpp"

namespace pgleak {

// Adds what a pool's sample has counted. What follows from it is left to the caller: capacity, limits, and
// whether the application has restarted. The blocker is that which keeps most waiting; `sum` keeps the
// pointer to it.
void add_sample(PoolSample* sum, const PoolSample& pool);

}  // namespace pgleak

#endif
