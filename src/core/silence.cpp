#include "core/silence.hpp"

#include <algorithm>

#include "core/limits.hpp"

namespace pgleak {

namespace {

constexpr double kShareOfSample = 0.1;  // in the average rate

bool is_silent(const PoolTurnover& seen) { return seen.transactions == 0 && seen.idle == seen.connections; }

void note_pause(PoolSilence* pool, MonotonicTime now) {
  const Micros pause = now - pool->silent_on;
  pool->steady -= static_cast<std::int32_t>(std::min<std::int64_t>(3 * (pause / kSecond), pool->steady));
  const bool is_old = now - pool->longest_pause_on > kPausesKeptFor;
  if (is_old || pause > pool->longest_pause) {
    pool->longest_pause = pause;
    pool->longest_pause_on = now;
  }
  pool->silent_on = MonotonicTime::none();
  pool->has_fallen_silent = false;
}

void note_use(PoolSilence* pool, const PoolTurnover& seen, Now now) {
  if (pool->silent_on.is_set()) note_pause(pool, now.monotonic);
  if (seen.transactions > 0) pool->steady = std::min(pool->steady + 1, kMostSteady);
  const double seconds =
      static_cast<double>((now.monotonic - pool->observed_on).us) / static_cast<double>(kSecond.us);
  if (seconds <= 0) return;
  pool->rate += kShareOfSample * (static_cast<double>(seen.transactions) / seconds - pool->rate);
}

void note_silence(PoolSilence* pool, const PoolTurnover& seen, Micros suspect_after, Now now) {
  if (!pool->silent_on.is_set()) {
    // Its last connection came to rest between the two samples.
    pool->silent_on = pool->observed_on;
    pool->silent_since = now.wall - (now.monotonic - pool->observed_on);
    pool->silent_size = seen.connections;
  }
  if (seen.connections != pool->silent_size) pool->steady = 0;
  const Micros least = std::max({suspect_after, kShortestSilence, pool->longest_pause * kPauseFactor});
  pool->has_fallen_silent = suspect_after != kNever && seen.connections >= kLeastSilent &&
                            pool->steady >= kLeastSteady && now.monotonic - pool->silent_on >= least;
}

}  // namespace

void observe_silence(PoolSilence* pool, const PoolTurnover& seen, Micros suspect_after, Now now) {
  if (pool->observed_on.is_set()) {
    if (is_silent(seen))
      note_silence(pool, seen, suspect_after, now);
    else
      note_use(pool, seen, now);
  }
  pool->observed_on = now.monotonic;
}

}  // namespace pgleak
