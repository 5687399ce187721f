// Owns: what the recorder does for the pools because the scanner cannot: looking up CONNECTION LIMITs,
// sending notifications. Called by the recorder at every turn, outside of any transaction, on a standby too.
#ifndef PGLEAK_POOL_ERRANDS_HPP
#define PGLEAK_POOL_ERRANDS_HPP

#include "server/postgres.hpp"

namespace pgleak {

// `context` is reset by the caller. Errors (somebody has a catalog locked) are not worth a word: what was
// known stays in force, and it is tried again a little later.
void run_pool_errands(MemoryContext context);

}  // namespace pgleak

#endif
