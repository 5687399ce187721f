// Owns: how much a leak hurts, graded. Called by the scanner before it acts.
// Must never allocate or know the server. Never ereports.
#ifndef PGLEAK_CORE_IMPACT_HPP
#define PGLEAK_CORE_IMPACT_HPP

#include <cstdint>

namespace pgleak {

// From harmless to harmful: a leak costs its connection; holds locks; keeps VACUUM from removing dead rows
// (an xid or a snapshot); has other sessions waiting for it.
enum class Impact : std::uint8_t { kNone, kLocks, kHorizon, kBlocking };

const char* to_string(Impact impact);

// What one session holds, as far as grading needs it.
struct Holdings {
  std::uint32_t xid;     // 0: none
  std::uint32_t xmin;    // 0: none
  std::int32_t locks;    // without the lock that every transaction has on itself
  std::int32_t blocked;  // sessions waiting for one of them
};

inline Impact grade(const Holdings& holdings) {
  if (holdings.blocked > 0) return Impact::kBlocking;
  if (holdings.xid != 0 || holdings.xmin != 0) return Impact::kHorizon;
  return holdings.locks > 0 ? Impact::kLocks : Impact::kNone;
}

}  // namespace pgleak

#endif
