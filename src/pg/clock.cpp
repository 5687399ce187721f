#include "pg/clock.hpp"

#include <ctime>

#include "pg/postgres.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace pgleak {

// CLOCK_MONOTONIC by name instead of the server's instr_time: that one may count processor ticks (19),
// and its meaning is private to one process, while ours is compared across processes.
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
