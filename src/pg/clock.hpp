// Reads the machine's clocks, and converts between the server's times and ours; nothing else does.
//
// Never blocks, and never ereports unless a declaration says so.
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

// Both clocks, read one directly after the other.
Now read_clocks();

constexpr WallTime from_timestamp(TimestampTz time) { return WallTime{time}; }
constexpr TimestampTz to_timestamp(WallTime time) { return time.us; }

// For values of settings, which have a unit but no type.
constexpr Micros from_milliseconds(int value) { return value * kMillisecond; }
constexpr Micros from_seconds(int value) { return value * kSecond; }

// Returns an interval of this length, allocated in the current memory context. May ereport (out of memory).
Interval* make_interval(Micros duration);

}  // namespace pgleak

#endif
