// Owns: places at which a test can make the scanner stop and wait, to have something happen in the middle of
// a look, or between judgement and action. Only in a build with PGLEAK_INJECT (test/run makes one); in any
// other nothing of it exists. Must never be called with a lock held.
#ifndef PGLEAK_SERVER_INJECTION_HPP
#define PGLEAK_SERVER_INJECTION_HPP

namespace pgleak {

#ifdef PGLEAK_INJECT

// Waits, serving interrupts, for as long as the setting pgleak.stop_at is `point`: "look" when a look has
// read the clocks, "check" before the last look at a session, "message" and "wake-up" before it is sent one
// of these. May ereport.
void stop_at(const char* point);

void define_injection_settings();

#else

inline void stop_at(const char*) {}
inline void define_injection_settings() {}

#endif

}  // namespace pgleak

#endif
