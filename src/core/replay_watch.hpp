// Measures how long replay on a standby has waited outside of the lock table, and says for whom.
//
// The scanner feeds it with what the startup process shows; what it found is published to those who read the
// lock waits. Lives in shared memory. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_REPLAY_WATCH_HPP
#define PGLEAK_CORE_REPLAY_WATCH_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// What replay waits for, as its wait event tells.
enum class ReplayConflict : std::uint8_t {
  kNone,
  kSnapshot,    // for old snapshots, which may still need the rows that replay is about to remove
  kTablespace,  // for all transactions of the moment, before it drops a tablespace
};

// Zero-initialized: replay does not wait.
struct ReplayWait {
  ReplayConflict conflict;
  WallTime since;      // when replay was first seen waiting
  std::uint32_t xmin;  // kSnapshot: replay waits for the sessions with this xmin; 0: not known yet
};

// Replay sleeps up to a second between two looks at those it waits for, so it may still show a wait that is
// over. Who has the oldest snapshot for longer than that is one of them.
inline constexpr Micros kReplaySleep = 1500 * kMillisecond;

// Between two of its sleeps replay shows no wait for a moment. A wait that is back within this time goes on.
inline constexpr Micros kReplayGap = kSecond;

// The server does not show which snapshots are in the way. The oldest one is, unless it belongs to another
// database: that is a guess.
struct ReplayWatch {
  ReplayWait wait;
  MonotonicTime last_seen;     // when replay was last seen waiting
  std::uint32_t oldest_xmin;   // as last seen
  MonotonicTime oldest_since;  // when it became the oldest

  // Notes what replay shows at `now`, when `oldest` was the oldest xmin of all sessions (0: none).
  void observe(ReplayConflict seen, std::uint32_t oldest, Now now);
};

}  // namespace pgleak

#endif
