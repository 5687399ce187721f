// Infers that a session which looks free is checked out: it stays idle outside any transaction while its pool
// opens new connections instead.
//
// Used by the scanner once a second. A suspect is shown and counted, nothing more; no action may depend on
// it. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_SUSPECTS_HPP
#define PGLEAK_CORE_SUSPECTS_HPP

#include <cstdint>

#include "core/silence.hpp"
#include "core/time.hpp"

namespace pgleak {

// A pool opens a connection because none is free. So a session that was idle at that moment, and long before
// it, was not free: it is checked out. Other reasons to open connections must not be mistaken for that:
//
// - A pool warms up, or an application starts: a session counts as idle at that moment only after
//   kLongestQuiet.
// - A connection is replaced (HikariCP's maxLifetime, PgBouncer's server_lifetime): the pool must have become
//   larger than it was when the session went quiet, for kSteady samples in a row, because the new connection
//   may come before the old one goes.
// - Spare connections are opened ahead of need (HikariCP's minimumIdle, a pool's min_size): the new one must
//   have been used, and not only while it was set up.
// - Nobody requests connections any more: an older one must have been used again since.
// - A connection that was in use, but quiet, when others were opened is returned silently and stays at the
//   bottom of a LIFO pool: it must have been quiet for kLongestQuiet *before* the new one came.
// - A pooler's connections change from one application_name to another: then neither has suspects for an
//   hour.
//
// Indistinguishable from outside: several pools, or connections without a pool, behind one name and address.
inline constexpr Micros kLongestQuiet = 5 * kSecond;
inline constexpr int kSteady = 3;
inline constexpr Micros kSharedFor = 3600 * kSecond;

// One session as seen in one sample.
struct SessionObservation {
  bool is_idle;      // outside of any transaction
  bool has_changed;  // it has run something since the last sample
};

// The scanner's memory of one session. Set `seen_on` at first sight, the rest to zero.
struct SessionActivity {
  MonotonicTime seen_on;
  MonotonicTime idle_on;   // first seen in its present idle state; none: not idle
  std::int32_t pool_size;  // size of its pool once it had been quiet for kLongestQuiet; 0: not yet
  bool is_used;            // it has run something since it was first seen
  bool is_suspect;
};

// The scanner's memory of one pool, as of earlier samples. Zero-initialized for a new pool.
struct PoolActivity {
  std::int32_t sizes[kSteady];   // connections in the last samples
  MonotonicTime newest_used_on;  // when the youngest session that was used was first seen
  MonotonicTime reused_on;       // when a session older than that was last used
  MonotonicTime shared_on;       // when a session last moved to or from another pool
  PoolSilence silence;
};

// True if its sessions also belong to another pool.
inline bool is_shared(const PoolActivity& pool, MonotonicTime now) {
  return pool.shared_on.is_set() && now - pool.shared_on < kSharedFor;
}

// What one sample collects about a pool's sessions. Zero-initialize it first.
struct PoolObservation {
  std::int32_t size;
  MonotonicTime newest_used_on;
  bool is_reused;
};

// Follows one session of `pool`. Returns whether it is a suspect after being idle for `suspect_after`
// (kNever: never). Call it for each session in each sample, with the same `observation` for all sessions of a
// pool.
bool observe_session(SessionActivity* session, SessionObservation seen, const PoolActivity& pool,
                     Micros suspect_after, MonotonicTime now, PoolObservation* observation);

// Updates the pool after all its sessions were followed.
void observe_activity(PoolActivity* pool, const PoolObservation& observation, MonotonicTime now);

}  // namespace pgleak

#endif
