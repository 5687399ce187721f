// Owns: how much a leak hurts: what it holds and whom it keeps waiting, graded, and the worst of it.
// Called by the scanner at every look at an open leak. Must never allocate or know the server. Never
// ereports.
#ifndef PGLEAK_CORE_IMPACT_HPP
#define PGLEAK_CORE_IMPACT_HPP

#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace pgleak {

// From harmless to harmful: a leak costs its connection; holds locks; keeps VACUUM from removing dead rows
// (an xid or a snapshot); has other sessions waiting for it.
enum class Impact : std::uint8_t { kNone, kLocks, kHorizon, kBlocking };

const char* to_string(Impact impact);

// What one session holds at one moment.
struct HeldResources {
  std::uint32_t xid;       // 0: none
  std::uint32_t xmin;      // 0: none
  std::int32_t locks;      // without the lock that every transaction has on itself
  std::int32_t blocked;    // sessions that wait for one of them, directly or through others
  WallTime blocked_since;  // since when the longest of these waits; none if unknown
  std::uint32_t next_xid;  // the one that the server will give next
};

inline Impact grade(const HeldResources& held) {
  if (held.blocked > 0) return Impact::kBlocking;
  if (held.xid != 0 || held.xmin != 0) return Impact::kHorizon;
  return held.locks > 0 ? Impact::kLocks : Impact::kNone;
}

// What a leak hurts. Lives in shared memory, in the columns of pgleak.leaks and pgleak.history.
struct ImpactSample {
  std::uint32_t xid;      // 0: none
  std::uint32_t xmin;     // 0: none
  std::int64_t xmin_age;  // transactions by which the older of the two lags behind; -1 without either
  std::int32_t locks;
  std::int32_t blocked;
  std::optional<Micros> blocked_for;  // how long the longest of those blocked has waited, if any is
  Impact impact;
};

inline constexpr ImpactSample kNoImpact{0, 0, -1, 0, 0, std::nullopt, Impact::kNone};

// `transaction_age` is that of the leak, if known. Nobody has waited longer because of it, whatever the wall
// clock says by which the server counts.
ImpactSample measure(const HeldResources& held, WallTime now, std::optional<Micros> transaction_age);

// The worst of both, each column by itself; of xid and snapshot what was held last.
ImpactSample worst_of(const ImpactSample& before, const ImpactSample& now);

}  // namespace pgleak

#endif
