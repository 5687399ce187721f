// Whether a pool waits for locks, and for whom: the root of the chain that its sessions wait in.
//
// The scanner feeds it once a second. Lives in shared memory: trivially copyable. Reads no clock, allocates
// nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_WAITS_HPP
#define PGLEAK_CORE_POOL_WAITS_HPP

#include <cstdint>

#include "core/contention.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// Who keeps others waiting and waits for nobody, and for which lock.
struct Blocker {
  enum class Kind : std::uint8_t { kNone, kSession, kPreparedTransaction, kBackgroundProcess };

  Kind kind;
  bool is_session_level;  // it holds the lock outside of any transaction
  bool is_own;            // a session of the pool itself
  std::uint8_t mode;      // the strongest in which it holds `lock`
  SessionState state;
  SessionId session;       // of a prepared transaction: pid 0
  std::uint32_t xid;       // of a prepared transaction
  std::int32_t place;      // of a prepared transaction
  std::uint32_t role_oid;  // for permission checks
  WallTime state_start;
  WallTime xact_start;  // none: no transaction
  LockId lock;
  char application_name[kNameSize];  // empty: none, or a prepared transaction
};

// The same holder with the same transaction, so that what it keeps others from is still the same.
bool is_same_hold(const Blocker& a, const Blocker& b);

// A wait shorter than this is not for somebody, but for a turn: nobody needs to be cancelled.
inline constexpr Micros kShortestBlock = 2 * kSecond;

inline constexpr Micros kBlockedAfter = 3 * kSecond;

// Those who wait with a short lock_timeout come and go, and so does who keeps them waiting.
inline constexpr Micros kBlockerForgotten = 10 * kSecond;

struct PoolWaits {
  Blocker blocker;        // kNone: nobody was found
  std::int32_t behind;    // sessions of the pool that waited behind it when it was last seen
  MonotonicTime since;    // when it was first seen
  MonotonicTime seen_on;  // when it was last seen
  MonotonicTime observed_on;
  MonotonicTime crowded_on;  // since when at least half of what is in use has waited; none: it does not
  double waiting;            // as of the last sample
  double mean_waiting;       // averaged over some seconds, as the next one
  double mean_in_use;

  // Notes one sample: how many sessions have waited since the last one, on average, and how many are in use;
  // and the blocker that was found since then, or nullptr.
  void observe(double now_waiting, std::int32_t in_use, const Blocker* found, std::int32_t found_behind,
               MonotonicTime now);

  // At least half of what is in use waits, and has for some seconds. By then, who keeps it waiting is known.
  bool is_blocked() const { return crowded_on.is_set() && observed_on - crowded_on >= kBlockedAfter; }

  // Somebody has kept the pool waiting long enough to be named.
  bool has_blocker() const {
    return blocker.kind != Blocker::Kind::kNone && seen_on - since >= kShortestBlock;
  }
};

}  // namespace pgleak

#endif
