// Owns: reading the machine's clocks. Called by the scanner, the recorder and the SQL functions.
// Never ereports, never blocks.
#ifndef PGLEAK_PG_CLOCK_HPP
#define PGLEAK_PG_CLOCK_HPP

#include "core/time.hpp"

namespace pgleak {

MonotonicTime monotonic_now();

// Both clocks at once.
Now read_clocks();

}  // namespace pgleak

#endif
