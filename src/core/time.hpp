// Owns: the project's notion of time. Used everywhere; knows no clock of its own.
// Must never read a clock: the caller passes `Now`, so that tests own the time.
#ifndef PGLEAK_CORE_TIME_HPP
#define PGLEAK_CORE_TIME_HPP

#include <cstdint>

namespace pgleak {

// A duration in microseconds.
using Micros = std::int64_t;

// A point on the wall clock: microseconds since 2000-01-01 UTC, the server's TimestampTz.
// 0 means "none", as in the backend status array.
using WallTime = std::int64_t;

// A point on the monotonic clock, in microseconds since an arbitrary start. Comparable across the
// processes of one machine, and untouched when somebody sets the wall clock.
using MonotonicTime = std::int64_t;

inline constexpr Micros kMillisecond = 1000;
inline constexpr Micros kSecond = 1000 * kMillisecond;
inline constexpr Micros kForever = INT64_MAX;

// Both clocks, read at the same moment.
struct Now {
  WallTime wall;
  MonotonicTime monotonic;
};

}  // namespace pgleak

#endif
