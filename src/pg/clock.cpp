#include "pg/clock.hpp"

#include <ctime>

#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pgleak {

// Uses CLOCK_MONOTONIC explicitly, not the server's instr_time: since 19 that may count processor ticks, and
// its meaning is private to one process, while our times are compared across processes.
MonotonicTime monotonic_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return MonotonicTime::none() + now.tv_sec * kSecond + Micros{now.tv_nsec / 1000};
}

WallTime wall_now() { return from_timestamp(GetCurrentTimestamp()); }

Now read_clocks() { return Now{wall_now(), monotonic_now()}; }

Interval* make_interval(Micros duration) {
  Interval* interval = static_cast<Interval*>(palloc0(sizeof(Interval)));
  interval->time = duration.us;
  return interval;
}

}  // namespace pgleak
