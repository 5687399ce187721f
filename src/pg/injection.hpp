// Points at which a test can stop the scanner, to change something in the middle of a scan or between a
// decision and its action; and a stopwatch for scans, for test/bench.
//
// Only a build with PGLEAK_INJECTION, such as that of test/run injection, contains any of it. Never call it
// with a lock held.
#ifndef PGLEAK_PG_INJECTION_HPP
#define PGLEAK_PG_INJECTION_HPP

namespace pgleak {

#ifdef PGLEAK_INJECTION

// Waits, processing interrupts, for as long as the setting pgleak.stop_at is `point`: "scan" after a scan has
// read the clocks, "check" before the last read of a session, "message" and "wake-up" before one of these is
// sent to it. May ereport.
void stop_at(const char* point);

// Call it before each of a series of scans; it returns false when the series is complete. The setting
// pgleak.timed_scans is the number of scans to time; 0 makes every series empty. That many are timed with
// whatever is in the caches, and as many right after the caches were filled with other memory. Logs both
// medians. May ereport.
bool times_another_scan();

void define_injection_settings();

#else

inline void stop_at(const char*) {}
inline bool times_another_scan() { return false; }
inline void define_injection_settings() {}

#endif

}  // namespace pgleak

#endif
