// Owns: the look at all pools: once a second each session is counted in its pool, each pool is judged, and a
// change of the verdict is told. Called by scanner.cpp after the look at all sessions. Must touch nothing but
// shared memory and the log; takes no lock and allocates nothing per look.
#ifndef PGLEAK_POOLS_HPP
#define PGLEAK_POOLS_HPP

#include "look.hpp"

namespace pgleak {

// Memory of this process; finds the pools that an earlier scanner knew. May ereport (out of memory).
void prepare_pools();

// Does nothing if the last one was less than a second ago.
void sample_pools(const Look& look);

}  // namespace pgleak

#endif
