#include "core/impact.hpp"

namespace pgleak {

namespace {

// Transaction ids wrap around: an id up to half the circle back is older.
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

ImpactSample measure(const HeldResources& held, WallTime now, std::optional<Micros> transaction_age) {
  ImpactSample impact_now{held.xid, held.xmin, -1, held.locks, held.blocked, std::nullopt, grade(held)};
  if (held.xid != 0) impact_now.xmin_age = lag_behind(held.next_xid, held.xid);
  if (held.xmin != 0) impact_now.xmin_age = larger(impact_now.xmin_age, lag_behind(held.next_xid, held.xmin));
  if (held.blocked > 0) {
    Micros waited{0};
    if (held.blocked_since.is_set()) waited = larger(waited, now - held.blocked_since);
    if (transaction_age && *transaction_age < waited) waited = *transaction_age;
    impact_now.blocked_for = waited;
  }
  return impact_now;
}

ImpactSample worst_of(const ImpactSample& before, const ImpactSample& now) {
  return ImpactSample{now.xid != 0 ? now.xid : before.xid,   now.xmin != 0 ? now.xmin : before.xmin,
                      larger(before.xmin_age, now.xmin_age), larger(before.locks, now.locks),
                      larger(before.blocked, now.blocked),   larger(before.blocked_for, now.blocked_for),
                      larger(before.impact, now.impact)};
}

}  // namespace pgleak
