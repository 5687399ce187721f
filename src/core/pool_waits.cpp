#include "core/pool_waits.hpp"

namespace pgleak {

namespace {

// Sessions that queue for a hot row wait for moments; a pool is blocked only if that lasts.
constexpr Micros kMeanOver = 3 * kSecond;

void move_towards(double* mean, double seen, Micros passed) {
  if (passed <= Micros{0}) return;
  *mean += (seen - *mean) * static_cast<double>(passed.us) / static_cast<double>((passed + kMeanOver).us);
}

}  // namespace

bool is_same_hold(const Blocker& a, const Blocker& b) {
  if (a.kind != b.kind || a.session != b.session || a.xid != b.xid) return false;
  return a.xact_start == b.xact_start || a.is_session_level || b.is_session_level;
}

void PoolWaits::observe(double now_waiting, std::int32_t in_use, const Blocker* found,
                        std::int32_t found_behind, MonotonicTime now) {
  waiting = now_waiting;
  if (observed_on.is_set()) {
    move_towards(&mean_waiting, waiting, now - observed_on);
    move_towards(&mean_in_use, in_use, now - observed_on);
  } else {
    mean_in_use = in_use;
  }
  observed_on = now;
  const bool is_crowded = waiting > 0 && mean_waiting >= 0.5 && mean_waiting * 2 >= mean_in_use;
  if (!is_crowded) crowded_on = MonotonicTime::none();
  if (is_crowded && !crowded_on.is_set()) crowded_on = now;
  if (found != nullptr) {
    if (blocker.kind == Blocker::Kind::kNone || !is_same_hold(blocker, *found)) since = now;
    blocker = *found;
    behind = found_behind;
    seen_on = now;
  } else if (blocker.kind != Blocker::Kind::kNone && now - seen_on >= kBlockerForgotten) {
    blocker = Blocker{};
    behind = 0;
  }
}

}  // namespace pgleak
