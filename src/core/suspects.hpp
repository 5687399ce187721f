// Owns: the inference that a session which looks free is checked out: idle outside of any transaction while
// its pool went on without it. Used by the scanner once a second. A suspect is shown and counted, nothing
// more: nothing may act on it. Must never allocate, know the server or read a clock. Never ereports.
#ifndef PGLEAK_CORE_SUSPECTS_HPP
#define PGLEAK_CORE_SUSPECTS_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// A pool opens a connection because none is free. So one that was idle at that moment and long before was not
// free: it is checked out. What else makes a pool open connections must not be mistaken for that:
// - A pool warms up, or an application starts: a session counts as idle at that moment only after
// kLongestQuiet.
// - A connection is replaced (HikariCP's maxLifetime, PgBouncer's server_lifetime): the pool must have become
// larger than
//   it was when the session went quiet, for kSteady looks in a row, since the new one may come before the old
//   one goes.
// - Spare connections are opened ahead of need (HikariCP's minimumIdle, a pool's min_size): the new one must
// have been
//   used, and not only while it was set up.
// - Nobody asks for connections any more: an older one must have been used again since.
// - A connection that was in use, but quiet, when others were opened is returned without a word and stays at
// the bottom
//   of a LIFO pool: it must have been quiet for kLongestQuiet *before* the new one came.
// - A pooler's connections pass from one application_name to another: then there are no suspects in either
// for an hour. What cannot be told apart from outside: several pools, or connections without a pool, behind
// one name and address.
inline constexpr Micros kLongestQuiet = 5 * kSecond;
inline constexpr int kSteady = 3;
inline constexpr Micros kSharedFor = 3600 * kSecond;

// How one session was seen at one scan.
struct SessionObservation {
  bool is_idle;      // outside of any transaction
  bool has_changed;  // it has run something since the last look
};

// The scanner's memory of one session. `seen_on` is to be set when it is first seen, the rest zero.
struct SessionActivity {
  MonotonicTime seen_on;
  MonotonicTime idle_on;   // first seen in its present idle state; none: not idle
  std::int32_t pool_size;  // of its pool once it had been quiet for kLongestQuiet; 0: not yet
  bool is_used;            // it has run something after it was first seen
  bool is_suspect;
};

// The scanner's memory of one pool, of the looks before this one. Zero-initialised for a new pool.
struct PoolActivity {
  std::int32_t sizes[kSteady];   // connections at the last looks
  MonotonicTime newest_used_on;  // when the youngest session that has been used was first seen
  MonotonicTime reused_on;       // when a session older than that was last used
  MonotonicTime shared_on;       // when a session last came from or went to another pool
};

// What one look collects of a pool's sessions. Zero-initialised before it.
struct PoolObservation {
  std::int32_t size;
  MonotonicTime newest_used_on;
  bool is_reused;
};

// Follows one session of `pool` and says whether it is a suspect after being idle for `suspect_after`
// (kNever: none is). To be called for each session at each look, with the same `observation` for all of a
// pool.
bool observe_session(SessionActivity* session, SessionObservation seen, const PoolActivity& pool,
                     Micros suspect_after, MonotonicTime now, PoolObservation* observation);

// Brings the pool up to date after all its sessions were followed.
void observe_activity(PoolActivity* pool, const PoolObservation& observation, MonotonicTime now);

}  // namespace pgleak

#endif
