// Owns: measuring how long a thing seen from outside has lasted, without trusting the wall clock.
// Called by the scanner for each session it considers, and by pgleak.leaks on a copy.
// Must never read a clock or allocate. Never ereports.
#ifndef PGLEAK_CORE_STOPWATCH_HPP
#define PGLEAK_CORE_STOPWATCH_HPP

#include "core/time.hpp"

namespace pgleak {

// The server says only *since when* (wall clock) a session is idle or a transaction runs. Subtracting
// that from the current wall clock would make a leak of every session when the clock is set forward.
// So: age = age at first sight + monotonic time since. The age at first sight is bounded by the time
// since the previous look, because a look that already existed would have seen the thing.
// Zero-initialised means "nothing seen yet".
struct Stopwatch {
  WallTime started_at;        // identifies the thing measured
  Micros age_at_first_sight;  // >= 0
  MonotonicTime first_sight_at;

  // Returns the age of the thing that started at `started` (wall clock). `not_before` is the
  // monotonic time at which an earlier look is known to have found another thing or nothing, or 0
  // when there was no such look.
  Micros observe(WallTime started, Now now, MonotonicTime not_before) {
    if (started != started_at || first_sight_at == 0) {
      Micros age = now.wall > started ? now.wall - started : 0;
      if (not_before > 0 && age > now.monotonic - not_before) age = now.monotonic - not_before;
      started_at = started;
      age_at_first_sight = age;
      first_sight_at = now.monotonic;
    }
    return age_at_first_sight + (now.monotonic - first_sight_at);
  }

  // Goes on measuring although the thing now says that it started at `started`.
  void carry_over(WallTime started) { started_at = started; }
};

}  // namespace pgleak

#endif
