#include "core/replay_watch.hpp"

namespace pgleak {

void ReplayWatch::observe(ReplayConflict seen, std::uint32_t oldest, Now now) {
  const bool is_over = now.monotonic - last_seen > kReplayGap;
  if (seen == ReplayConflict::kNone) {
    if (is_over) *this = ReplayWatch{};
    return;
  }
  if (is_over || seen != wait.conflict)
    *this = ReplayWatch{ReplayWait{seen, now.wall, 0}, now.monotonic, oldest, now.monotonic};
  if (oldest != oldest_xmin) {
    oldest_xmin = oldest;
    oldest_since = now.monotonic;
  }
  const bool is_certain = now.monotonic - oldest_since > kReplaySleep;
  wait.xmin = seen == ReplayConflict::kSnapshot && is_certain ? oldest : 0;
  last_seen = now.monotonic;
}

}  // namespace pgleak
