// Samples what the open leaks cost others besides their waiting; see core/effects.hpp.
//
// Holds the lock of replication slots and ProcArrayLock, shared, one after the other. Never ereports once
// prepared.
#ifndef PGLEAK_SCANNER_EFFECTS_HPP
#define PGLEAK_SCANNER_EFFECTS_HPP

#include "core/time.hpp"

namespace pgleak {

// Allocates this process's memory. May ereport (out of memory).
void prepare_effects();

// Takes a sample of each open leak, at most once a second. One load if no leak is open.
void sample_effects(MonotonicTime now);

}  // namespace pgleak

#endif
