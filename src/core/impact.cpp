#include "core/impact.hpp"

namespace pgleak {

namespace {

// Transaction ids go round: what lies up to half a turn back is older.
std::int64_t lag_behind(std::uint32_t next_xid, std::uint32_t xid) {
  const std::int32_t lag = static_cast<std::int32_t>(next_xid - xid);
  return lag > 0 ? lag : 0;
}

template <typename Value>
Value larger(Value a, Value b) {
  return a < b ? b : a;
}

}  // namespace

const char* to_string(Impact impact) {
  switch (impact) {
    case Impact::kNone:
      return "none";
    case Impact::kLocks:
      return "locks";
    case Impact::kHorizon:
      return "horizon";
    case Impact::kBlocking:
      return "blocking";
  }
  return "none";
}

Harm measure(const Holdings& holdings, WallTime now, Micros transaction_age) {
  Harm harm{holdings.xid, holdings.xmin, -1, holdings.locks, holdings.blocked, -1, grade(holdings)};
  if (holdings.xid != 0) harm.xmin_age = lag_behind(holdings.next_xid, holdings.xid);
  if (holdings.xmin != 0) harm.xmin_age = larger(harm.xmin_age, lag_behind(holdings.next_xid, holdings.xmin));
  if (holdings.blocked > 0) {
    harm.blocked_for = holdings.blocked_since == 0 ? 0 : larger<Micros>(0, now - holdings.blocked_since);
    if (transaction_age >= 0 && transaction_age < harm.blocked_for) harm.blocked_for = transaction_age;
  }
  return harm;
}

Harm worst_of(const Harm& before, const Harm& now) {
  return Harm{now.xid != 0 ? now.xid : before.xid,   now.xmin != 0 ? now.xmin : before.xmin,
              larger(before.xmin_age, now.xmin_age), larger(before.locks, now.locks),
              larger(before.blocked, now.blocked),   larger(before.blocked_for, now.blocked_for),
              larger(before.impact, now.impact)};
}

}  // namespace pgleak
