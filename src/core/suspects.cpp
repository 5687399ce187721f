#include "core/suspects.hpp"

#include "core/limits.hpp"

namespace pgleak {

namespace {

std::int32_t least_recent_size(const PoolActivity& pool) {
  std::int32_t least = pool.sizes[0];
  for (const std::int32_t size : pool.sizes)
    if (size < least) least = size;
  return least;
}

Micros longest_quiet(Micros suspect_after) {
  return suspect_after < kLongestQuiet ? suspect_after : kLongestQuiet;
}

// The pool passed it over: it opened a new connection that was needed, and older ones were used since.
bool is_left_out(const SessionActivity& session, const PoolActivity& pool, Micros suspect_after) {
  return session.pool_size > 0 && least_recent_size(pool) > session.pool_size &&
         pool.newest_used_on > session.idle_on + longest_quiet(suspect_after) &&
         pool.reused_on > pool.newest_used_on;
}

}  // namespace

bool observe_session(SessionActivity* session, SessionObservation seen, const PoolActivity& pool,
                     Micros suspect_after, MonotonicTime now, PoolObservation* observation) {
  observation->size++;
  // Statements that run while a connection is being opened do not count as use.
  const bool is_new = session->seen_on == now;
  const bool is_in_use = !is_new && (!seen.is_idle || seen.has_changed);
  if (is_in_use) session->is_used = true;
  if (session->is_used && session->seen_on > observation->newest_used_on)
    observation->newest_used_on = session->seen_on;
  if (is_in_use && session->seen_on < pool.newest_used_on) observation->is_reused = true;

  if (!seen.is_idle || suspect_after == kNever || is_shared(pool, now)) {
    session->idle_on = MonotonicTime::none();
    session->is_suspect = false;
    return false;
  }
  if (!session->idle_on.is_set() || seen.has_changed) {
    session->idle_on = now;
    session->pool_size = 0;
    session->is_suspect = false;
    return false;
  }
  const Micros quiet_for = now - session->idle_on;
  if (session->pool_size == 0 && quiet_for >= longest_quiet(suspect_after))
    session->pool_size = pool.sizes[0];
  if (quiet_for >= suspect_after && is_left_out(*session, pool, suspect_after)) session->is_suspect = true;
  return session->is_suspect;
}

void observe_activity(PoolActivity* pool, const PoolObservation& observation, MonotonicTime now) {
  for (int i = kSteady - 1; i > 0; i--) pool->sizes[i] = pool->sizes[i - 1];
  pool->sizes[0] = observation.size;
  if (observation.newest_used_on != pool->newest_used_on) {
    pool->newest_used_on = observation.newest_used_on;
    pool->reused_on = MonotonicTime::none();
  } else if (observation.is_reused) {
    pool->reused_on = now;
  }
}

}  // namespace pgleak
