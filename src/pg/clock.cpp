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
  return static_cast<MonotonicTime>(now.tv_sec) * kSecond + now.tv_nsec / 1000;
}

Now read_clocks() { return Now{GetCurrentTimestamp(), monotonic_now()}; }

}  // namespace pgleak
