
#include "core/pool.hpp"

namespace pgleak {

namespace {

constexpr double kMicrosPerHour = 3600.0 * static_cast<double>(kSecond.us);

// A forecast beyond this is none.
constexpr double kFarthest = 365 * 24 * kMicrosPerHour;

// Exponential moving average: it moves towards `seen`, the faster the more time has passed.
void average(double* mean, double seen, Micros passed, Micros over) {
  const double weight =
      passed <= Micros{0} ? 0.0 : static_cast<double>(passed.us) / static_cast<double>((passed + over).us);
  *mean += (seen - *mean) * weight;
}

// Full for a shorter time may mean that the next connection is about to be returned.
constexpr Micros kFullAfter = 5 * kSecond;

// Fewer leaks, unless they are this old, say nothing about what comes next.
constexpr std::int32_t kForecastLeaks = 3;
constexpr Micros kForecastAge = 300 * kSecond;

constexpr Micros kTerminateForgotten = 24 * 3600 * kSecond;

double share_of(double part, std::int32_t whole) { return whole > 0 && part > 0 ? part / whole : 0.0; }

// A short dip (a connection is free between two transactions) or a short burst barely changes an average.
void update_means(PoolState* state, const PoolSample& sample, const PoolRules& rules, MonotonicTime now) {
  const double waiting = state->is_limited ? sample.waiting_of_limit : sample.waiting;
  const double share = share_of(state->used_of_capacity, state->capacity);
  const double work_share = share_of(state->used_of_capacity - waiting, state->capacity);
  const double idle_us = sample.idle.count > 0 ? static_cast<double>(sample.idle.total.us) / sample.idle.count
                                               : state->mean_idle_us;
  if (!state->observed_on.is_set()) {
    state->mean_share = share;
    state->mean_work_share = work_share;
    state->mean_used = state->used;
    state->mean_idle = sample.idle.count;
    state->mean_idle_us = idle_us;
    return;
  }
  const Micros passed = now - state->observed_on;
  const Micros over = rules.busy_after / 20;
  average(&state->mean_share, share, passed, over);
  average(&state->mean_work_share, work_share, passed, over);
  average(&state->mean_used, state->used, passed, over);
  average(&state->mean_idle, sample.idle.count, passed, over);
  average(&state->mean_idle_us, idle_us, passed, over);
}

bool is_capacity_known(const PoolState& state) {
  return state.capacity > 0 && (state.is_limited || state.peak >= kLeastPeak);
}

// 1e-6: an average of equal shares may miss them by the last bit.
bool is_busy(const PoolState& state, double share, const PoolRules& rules) {
  return is_capacity_known(state) && share * 100 + 1e-6 >= rules.busy_percent;
}

// A pool that still opens connections is not full: its capacity is unknown until it stops growing. Sessions
// that wait for locks keep their connections busy, but a larger pool would only have more of them.
void update_busy(PoolState* state, const PoolSample& sample, const PoolRules& rules, bool has_grown,
                 Now now) {
  const bool begins = has_grown && !state->is_limited;
  if (!is_busy(*state, state->mean_share, rules))
    state->busy_since = WallTime::none();
  else if (!state->busy_since.is_set() || begins)
    state->busy_since = now.wall;

  if (!is_busy(*state, state->mean_work_share, rules) || state->waits.is_blocked()) {
    state->working_on = MonotonicTime::none();
    state->working_since = WallTime::none();
    return;
  }
  if (!state->working_on.is_set() || begins) {
    state->working_on = now.monotonic;
    state->working_since = now.wall;
    state->turnover = 0;
  }
  state->turnover += sample.turnover;
}

// While somebody gets a connection now and then, the pool is not exhausted.
void update_full(PoolState* state, const PoolSample& sample, Now now) {
  if (sample.turnover > 0 || !state->moved_on.is_set()) state->moved_on = now.monotonic;
  const bool is_full = state->capacity > 0 && state->used_of_capacity >= state->capacity;
  if (!is_full || sample.turnover > 0) {
    state->full_since = WallTime::none();
  } else if (!state->full_since.is_set()) {
    state->full_since = now.wall;
    state->full_on = now.monotonic;
  }
}

void update_terminated(PoolState* state, const PoolSample& sample, std::int32_t before, WallTime now) {
  LostToTerminate& lost = state->terminated;
  if (!is_of_application(sample.scope)) return;
  if (sample.ends.terminated > 0) {
    if (!lost.at.is_set() || before > lost.before) lost.before = before;
    lost.at = now;
  }
  if (!lost.at.is_set()) return;
  const std::int32_t ended = state->ends.sum().terminated;
  lost.missing = lost.before - sample.counts.connections;
  if (ended > 0 && lost.missing > ended) lost.missing = ended;
  if (lost.missing <= 0 || sample.counts.connections == 0 || now - lost.at > kTerminateForgotten)
    lost = LostToTerminate{};
}

void update_pattern(PoolState* state, const PoolSample& sample, MonotonicTime now) {
  state->ends.record(sample.ends, now);
  if (sample.ends.returned > 0) state->has_returned = true;
  const PoolCounts& counts = sample.counts;
  const PatternFacts facts{counts.connections,         counts.idle,         counts.in_use(),
                           counts.idle_in_transaction, state->has_returned, now - state->moved_on};
  // The leaks of all pools together have no cause in common.
  const bool is_pool = is_of_application(sample.scope);
  if (is_pool)
    state->pattern = find_pattern(sample.leaks, state->ends.sum(), facts, now);
  else
    state->pattern = sample.leaks.count > 0 ? LeakPattern::kLost : LeakPattern::kNone;
}

// Busy with work throughout, and its connections change hands. Without a limit, sessions that each stay in
// one transaction all the time (pg_dump -j, a report) are not a pool in which requests wait.
bool is_full_of_work(const PoolState& state, const PoolRules& rules, MonotonicTime now) {
  if (!state.working_on.is_set() || now - state.working_on < rules.busy_after) return false;
  return state.is_limited || state.turnover >= state.peak;
}

// Leaks of a pool of one or two connections are just that. Sessions without a pool are not judged by their
// share, because they are unrelated. The server has room for all its pools, so there a quarter of its
// capacity counts.
Verdict judge(const PoolState& state, const PoolRules& rules, PoolScope scope, MonotonicTime now) {
  if (is_of_application(scope) && state.counts.connections == 0) return Verdict::kOk;  // it is closed
  const bool is_single = is_of_application(scope) && state.peak < kLeastPeak;
  const std::int32_t lost = is_loss(state.pattern) ? state.counts.leaked : 0;
  const double whole = scope == PoolScope::kServer ? state.capacity : state.mean_used - 1e-6;
  const bool hold_a_quarter = lost > 0 && lost * 4 >= whole && scope != PoolScope::kOther;
  const bool is_leaking = (hold_a_quarter || (lost > 0 && state.working_on.is_set())) && !is_single;
  if (state.waits.is_blocked() && scope != PoolScope::kOther)
    return hold_a_quarter && is_leaking ? Verdict::kLeaking : Verdict::kBlocked;
  const bool is_probed = state.pattern == LeakPattern::kProbe;
  if (!hold_a_quarter && !is_probed && is_full_of_work(state, rules, now)) return Verdict::kUndersized;
  if (state.counts.leaked == 0) return Verdict::kOk;
  return is_leaking ? Verdict::kLeaking : Verdict::kLeak;
}

// A rate needs some leaks, or time. Leaks that are none have no forecast.
bool is_foreseeable(const PoolState& state, MonotonicTime now) {
  if (!is_loss(state.pattern) || state.leaks_per_hour <= 0) return false;
  return state.counts.leaked >= kForecastLeaks || now - state.leaks.oldest_on >= kForecastAge;
}

// When the leaks will have used up the rest at their present rate; if nothing is left, since when.
WallTime forecast(const PoolState& state, Now now) {
  if (!is_capacity_known(state) || !is_loss(state.pattern)) return WallTime::none();
  if (state.is_exhausted(now.monotonic)) return state.full_since;
  if (state.used_of_capacity >= state.capacity || !is_foreseeable(state, now.monotonic))
    return WallTime::none();
  const double room = state.capacity - state.mean_share * state.capacity;
  const double away = (room > 0 ? room : 0) / state.leaks_per_hour * kMicrosPerHour;
  return away < kFarthest ? now.wall + Micros{static_cast<std::int64_t>(away)} : WallTime::none();
}

// That a session or two wait is no news.
bool is_worth_telling(const PoolState& state) {
  if (state.verdict == Verdict::kBlocked) return state.counts.waiting >= kLeastPeak;
  return state.verdict == Verdict::kLeaking || state.verdict == Verdict::kUndersized;
}

bool was_worth_telling(Verdict announced) { return announced != Verdict::kOk && announced != Verdict::kLeak; }

}  // namespace

const char* to_string(PoolScope scope) {
  switch (scope) {
    case PoolScope::kPool:
      return "pool";
    case PoolScope::kApplication:
      return "application";
    case PoolScope::kServer:
      return "server";
    case PoolScope::kOther:
      return "other";
  }
  return "pool";
}

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kLeak:
      return "leak";
    case Verdict::kUndersized:
      return "undersized";
    case Verdict::kBlocked:
      return "blocked";
    case Verdict::kLeaking:
      return "leaking";
  }
  return "ok";
}

bool PoolState::is_exhausted(MonotonicTime now) const {
  return full_since.is_set() && now - full_on >= kFullAfter;
}

void observe_pool(PoolState* state, const PoolSample& sample, const PoolRules& rules, Now now) {
  // The application has restarted: what its pool was before no longer applies.
  if (sample.has_restarted) {
    PoolState fresh{};
    fresh.announced = state->announced;
    fresh.announced_on = state->announced_on;
    *state = fresh;
  }
  const std::int32_t old_connections = state->counts.connections;
  state->counts = sample.counts;
  state->counts.waiting = static_cast<std::int32_t>(sample.waiting + 0.5);
  state->leaks = sample.leaks;
  state->suspects = sample.suspects;
  state->used = sample.used;
  state->trend.record(sample.counts.leaked, sample.counts.connections, now.monotonic);

  const std::int32_t old_peak = state->peak;
  state->peak = state->trend.peak();
  state->is_limited = sample.limit > 0;
  state->capacity = state->is_limited ? sample.limit : state->peak;
  if (sample.scope == PoolScope::kOther) state->capacity = 0;
  state->used_of_capacity = state->is_limited ? sample.used_of_limit : sample.used;
  state->waits.observe(sample.waiting, sample.used, sample.blocker, sample.behind, now.monotonic);
  update_means(state, sample, rules, now.monotonic);
  update_busy(state, sample, rules, state->peak > old_peak, now);
  update_full(state, sample, now);
  update_pattern(state, sample, now.monotonic);
  update_terminated(state, sample, old_connections, now.wall);

  state->leaks_per_hour = state->trend.leaks_per_hour(now.monotonic);
  state->observed_on = now.monotonic;
  state->verdict = judge(*state, rules, sample.scope, now.monotonic);
  state->exhausted_at = forecast(*state, now);
}

std::optional<Verdict> take_announcement(PoolState* state, MonotonicTime now) {
  if (state->verdict == state->announced) return std::nullopt;
  if (!is_worth_telling(*state) && !was_worth_telling(state->announced)) return std::nullopt;
  if (state->announced_on.is_set() && now - state->announced_on < kAnnouncementPause) return std::nullopt;
  const Verdict before = state->announced;
  state->announced = state->verdict;
  state->announced_on = now;
  return before;
}

}  // namespace pgleak
