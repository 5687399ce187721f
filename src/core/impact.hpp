// The impact of a leak: what it holds and which sessions it blocks, on a scale of four grades, and the worst
// of it over time.
//
// Measured at every scan of an open leak. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_IMPACT_HPP
#define PGLEAK_CORE_IMPACT_HPP

#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace pgleak {

// In ascending order: a leak costs only its connection; holds locks; keeps VACUUM from removing dead rows (an
// xid or a snapshot) or notifications from being removed (LISTEN); blocks other sessions.
enum class Impact : std::uint8_t { kNone, kLocks, kHorizon, kBlocking };

const char* to_string(Impact impact);

// What one session holds at one moment.
struct HeldResources {
  std::uint32_t xid;       // 0: none
  std::uint32_t xmin;      // 0: none
  std::int32_t locks;      // without the lock on its own transaction id
  std::int32_t blocked;    // sessions that wait for one of its locks, directly or through others
  WallTime blocked_since;  // when the longest of these waits started; none: unknown
  std::uint32_t next_xid;  // the next xid that the server will assign
  bool waits;              // for a lock of another session
  // The session at the end of the chain, which waits for no other; 0: a prepared transaction, or unknown.
  std::int32_t root_pid;
  bool listens;                  // it keeps the notification queue from being cleaned up
  bool blocks_by_guess = false;  // that those blocked wait behind it is a guess
};

inline Impact grade(const HeldResources& held) {
  if (held.blocked > 0) return Impact::kBlocking;
  if (held.xid != 0 || held.xmin != 0 || held.listens) return Impact::kHorizon;
  return held.locks > 0 ? Impact::kLocks : Impact::kNone;
}

// Who waits behind it by a guess does not count.
inline Impact certain_grade(HeldResources held) {
  if (held.blocks_by_guess) held.blocked = 0;
  return grade(held);
}

// The impact of a leak. Lives in shared memory; the columns of pgleak.leaks and pgleak.history.
struct ImpactSample {
  std::uint32_t xid;      // 0: none
  std::uint32_t xmin;     // 0: none
  std::int64_t xmin_age;  // transactions between the older of the two and the next xid; -1 without either
  std::int32_t locks;
  std::int32_t blocked;
  std::optional<Micros> blocked_for;  // the longest wait among those blocked
  Impact impact;
};

inline constexpr ImpactSample kNoImpact{0, 0, -1, 0, 0, std::nullopt, Impact::kNone};

// `transaction_age` is that of the leak, if known. It bounds the longest wait, which the server measures by
// the wall clock.
ImpactSample measure(const HeldResources& held, WallTime now, std::optional<Micros> transaction_age);

// The maximum of each column; for xid and xmin, the values held last.
ImpactSample worst_of(const ImpactSample& before, const ImpactSample& now);

}  // namespace pgleak

#endif
