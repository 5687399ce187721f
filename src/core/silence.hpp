// Infers that all connections of a pool are checked out and forgotten: a pool with a steady turnover has
// fallen silent all of a sudden, and all its connections stay open and idle.
//
// Complements core/suspects, which needs a pool that grows. Used by the scanner once a second. The result is
// a guess, shown and nothing more; no action may depend on it. Reads no clock, allocates nothing, never
// ereports.
#ifndef PGLEAK_CORE_SILENCE_HPP
#define PGLEAK_CORE_SILENCE_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// A healthy pool falls silent too. What tells the two apart:
//
// - Its requests become fewer before they end. So its turnover must have been steady: kLeastSteady more
//   seconds with a transaction than three times those without.
// - It has pauses. So the silence must be kPauseFactor times as long as the longest pause of the last day,
// from
//   which its connections came back.
// - It closes connections that nobody needs, replaces old ones, or tests them. So the same number of
//   connections must stay idle all the time.
// - One or two connections are no pool: kLeastSilent.
//
// Indistinguishable from outside: the first time that a job ends that had kept a pool of fixed size busy.
inline constexpr int kLeastSteady = 15;
inline constexpr int kMostSteady = 60;
inline constexpr int kPauseFactor = 5;
inline constexpr Micros kShortestSilence = 10 * kSecond;
inline constexpr Micros kPausesKeptFor = 24 * 3600 * kSecond;
inline constexpr int kLeastSilent = 3;

// What one sample saw of a pool.
struct PoolTurnover {
  std::int32_t connections;
  std::int32_t idle;          // outside of any transaction
  std::int64_t transactions;  // ended since the last sample
};

// The scanner's memory of one pool. Zero-initialized for a new pool.
struct PoolSilence {
  MonotonicTime observed_on;  // the last sample; none: there was none
  MonotonicTime silent_on;    // none: it is not silent
  WallTime silent_since;      // the same by the wall clock
  std::int32_t silent_size;   // connections when the silence began
  std::int32_t steady;        // 0 to kMostSteady
  double rate;                // transactions a second, averaged over some ten seconds; before the silence
  Micros longest_pause;       // within the last day
  MonotonicTime longest_pause_on;
  bool has_fallen_silent;  // the guess
};

// Adds a sample. Sets `has_fallen_silent` once the silence has lasted for `suspect_after` (kNever: never),
// and clears it when the pool is used again.
void observe_silence(PoolSilence* pool, const PoolTurnover& seen, Micros suspect_after, Now now);

}  // namespace pgleak

#endif
