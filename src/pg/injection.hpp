// Owns: places at which a test can make the scanner stop and wait, to have something happen in the middle of
// a look, or between judgement and action; and a stop-watch for looks, for test/bench. Only in a build with
// PGLEAK_INJECTION (test/run makes one); in any other nothing of it exists. Must never be called with a lock
// held.
#ifndef PGLEAK_PG_INJECTION_HPP
#define PGLEAK_PG_INJECTION_HPP

namespace pgleak {

#ifdef PGLEAK_INJECTION

// Waits, serving interrupts, for as long as the setting pgleak.stop_at is `point`: "scan" when a scan has
// read the clocks, "check" before the last look at a session, "message" and "wake-up" before it is sent one
// of these. May ereport.
void stop_at(const char* point);

// To be asked before each of some looks in a row; false when there are enough, which is at once unless the
// setting pgleak.timed_scans says how many. So many are timed with whatever is in the caches, and as many
// right after something else has filled all of these. The log tells the medians. May ereport.
bool times_another_scan();

void define_injection_settings();

#else

inline void stop_at(const char*) {}
inline bool times_another_scan() { return false; }
inline void define_injection_settings() {}

#endif

}  // namespace pgleak

#endif
