// Reading the machine's clocks, and the one place where the server's times become ours and back.
// Called by the scanner, the recorder and the SQL functions. Never ereports unless said, never blocks.
#ifndef PGLEAK_PG_CLOCK_HPP
#define PGLEAK_PG_CLOCK_HPP

#include "core/time.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "datatype/timestamp.h"
}

namespace pgleak {

MonotonicTime monotonic_now();

WallTime wall_now();

// Both clocks at once.
Now read_clocks();

constexpr WallTime from_timestamp(TimestampTz time) { return WallTime{time}; }
constexpr TimestampTz to_timestamp(WallTime time) { return time.us; }

// Values of settings, which have a unit but no type.
constexpr Micros from_milliseconds(int value) { return value * kMillisecond; }
constexpr Micros from_seconds(int value) { return value * kSecond; }

// An interval of this length, in the current memory context. May ereport (out of memory).
Interval* make_interval(Micros duration);

}  // namespace pgleak

#endif
