
#include "core/pool.hpp"

#include <cstring>
#include <initializer_list>

#include "core/text.hpp"

namespace pgleak {

namespace {

constexpr Micros kMinute = 60 * kSecond;
constexpr Micros kHour = 60 * kMinute;

// Fewer leaks may be chance and say nothing about a rate.
constexpr std::int32_t kEnough = 3;
// Leaks younger than this give no meaningful rate; for fewer than kEnough leaks, it is an hour.
constexpr Micros kShortestSpan = 10 * kSecond;

std::uint16_t clamp(std::int32_t count) {
  if (count < 0) return 0;
  return count > UINT16_MAX ? UINT16_MAX : static_cast<std::uint16_t>(count);
}

double per_hour(std::int32_t count, Micros span) {
  return static_cast<double>(count) * static_cast<double>(kHour.us) / static_cast<double>(span.us);
}

Micros at_least(Micros span, Micros least) { return span > least ? span : least; }

}  // namespace

void PoolTrend::record(std::int32_t leaked, std::int32_t connections, MonotonicTime now) {
  if (!since_.is_set()) {
    *this = PoolTrend();
    since_ = now;
  }
  const std::int64_t minute = (now - since_) / kMinute;
  const std::int64_t hour = (now - since_) / kHour;
  // What started after the last record started from the values of that record.
  if (minute - minute_ > kMinutes) minute_ = minute - kMinutes;
  while (minute_ < minute) leaked_at_minute_[++minute_ % kMinutes] = clamp(leaked_);
  if (hour - hour_ > kHours) hour_ = hour - kHours;
  while (hour_ < hour) {
    leaked_at_hour_[++hour_ % kHours] = clamp(leaked_);
    peak_in_hour_[hour_ % kHours] = 0;
  }
  leaked_ = leaked;
  const std::uint16_t count = clamp(connections);
  if (count > peak_in_hour_[hour_ % kHours]) peak_in_hour_[hour_ % kHours] = count;
}

std::int32_t PoolTrend::peak() const {
  std::int32_t most = 0;
  for (const std::uint16_t peak : peak_in_hour_)
    if (peak > most) most = peak;
  return most;
}

PoolTrend::Growth PoolTrend::growth_over_minutes(std::int64_t minutes, MonotonicTime now) const {
  if (minute_ < minutes) return Growth{leaked_, now - since_};
  const std::int64_t from = minute_ - minutes;
  return Growth{leaked_ - leaked_at_minute_[from % kMinutes], now - (since_ + from * kMinute)};
}

PoolTrend::Growth PoolTrend::growth_over_hours(std::int64_t hours, MonotonicTime now) const {
  if (hour_ < hours) return Growth{leaked_, now - since_};
  const std::int64_t from = hour_ - hours;
  return Growth{leaked_ - leaked_at_hour_[from % kHours], now - (since_ + from * kHour)};
}

double PoolTrend::leaks_per_hour(MonotonicTime now) const {
  if (!since_.is_set()) return 0;
  const Growth day = growth_over_hours(24, now);
  for (const Growth& growth : {growth_over_minutes(5, now), growth_over_minutes(60, now), day})
    if (growth.count >= kEnough) return per_hour(growth.count, at_least(growth.span, kShortestSpan));
  return day.count > 0 ? per_hour(day.count, at_least(day.span, kHour)) : 0;
}

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

// A short dip (a connection is free between two transactions) or a short burst barely changes an average.
void update_means(PoolState* state, const PoolRules& rules, MonotonicTime now) {
  const double share =
      state->capacity > 0 ? static_cast<double>(state->used_of_capacity) / state->capacity : 0.0;
  if (!state->observed_on.is_set()) {
    state->mean_share = share;
    state->mean_used = state->used;
    return;
  }
  const Micros passed = now - state->observed_on;
  average(&state->mean_share, share, passed, rules.busy_after / 20);
  average(&state->mean_used, state->used, passed, rules.busy_after / 20);
}

bool is_capacity_known(const PoolState& state) {
  return state.capacity > 0 && (state.is_limited || state.peak >= kLeastPeak);
}

void update_busy(PoolState* state, const PoolSample& sample, const PoolRules& rules, bool has_grown,
                 Now now) {
  // 1e-6: an average of equal shares may miss them by the last bit.
  if (!is_capacity_known(*state) || state->mean_share * 100 + 1e-6 < rules.busy_percent) {
    state->busy_on = MonotonicTime::none();
    state->busy_since = WallTime::none();
    return;
  }
  // A pool that still opens connections is not full: its capacity is unknown until it stops growing.
  const bool begins = !state->busy_on.is_set() || (has_grown && !state->is_limited);
  if (begins) {
    state->busy_on = now.monotonic;
    state->busy_since = now.wall;
    state->turnover = 0;
  }
  state->turnover += sample.turnover;
}

// Busy throughout, and its connections change hands. Without a limit, sessions that each stay in one
// transaction all the time (pg_dump -j, a report) are not a pool in which requests wait.
bool is_full_of_work(const PoolState& state, const PoolRules& rules, MonotonicTime now) {
  if (!state.busy_on.is_set() || now - state.busy_on < rules.busy_after) return false;
  return state.is_limited || state.turnover >= state.peak;
}

// Sessions without a pool are not judged by their share, because they are unrelated. The server has room for
// all its pools, so there a quarter of its capacity counts.
Verdict judge(const PoolState& state, const PoolRules& rules, PoolScope scope, MonotonicTime now) {
  const std::int32_t leaked = state.counts.leaked;
  const double whole = scope == PoolScope::kServer ? state.capacity : state.mean_used - 1e-6;
  const bool hold_a_quarter = leaked > 0 && leaked * 4 >= whole && scope != PoolScope::kOther;
  if (!hold_a_quarter && is_full_of_work(state, rules, now)) return Verdict::kUndersized;
  if (leaked == 0) return Verdict::kOk;
  return hold_a_quarter || state.busy_on.is_set() ? Verdict::kLeaking : Verdict::kLeak;
}

// When the leaks will have used up the rest at their present rate; if nothing is left, since when.
WallTime forecast(const PoolState& state, WallTime now) {
  if (!is_capacity_known(state) || state.counts.leaked == 0) return WallTime::none();
  if (state.full_since.is_set()) return state.full_since;
  if (state.leaks_per_hour <= 0) return WallTime::none();
  const double room = state.capacity - state.mean_share * state.capacity;
  const double away = (room > 0 ? room : 0) / state.leaks_per_hour * kMicrosPerHour;
  return away < kFarthest ? now + Micros{static_cast<std::int64_t>(away)} : WallTime::none();
}

bool is_worth_telling(Verdict verdict) {
  return verdict == Verdict::kLeaking || verdict == Verdict::kUndersized;
}

}  // namespace

const char* to_string(PoolScope scope) {
  switch (scope) {
    case PoolScope::kPool:
      return "pool";
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
    case Verdict::kLeaking:
      return "leaking";
  }
  return "ok";
}

void LeakSummary::add(const Episode& episode, const char* its_route) {
  const bool is_idle = is_idle_in_transaction(episode.progress.last_state);
  const WallTime began = is_idle && episode.idle_since.is_set() ? episode.idle_since : episode.detected_at;
  if (count == 0) {
    query_id = episode.query_id;
    TextBuffer(route, sizeof(route)).append(its_route);
  }
  // Once empty, it stays empty and equals no other.
  if (query_id != episode.query_id) query_id = 0;
  if (std::strcmp(route, its_route) != 0) route[0] = '\0';
  if (count == 0 || began < since) since = began;
  if (is_idle) idle++;
  count++;
}

void observe_pool(PoolState* state, const PoolSample& sample, const PoolRules& rules, Now now) {
  // The application has restarted: what its pool was before no longer applies.
  if (sample.has_restarted) {
    PoolState fresh{};
    fresh.announced = state->announced;
    fresh.announced_on = state->announced_on;
    *state = fresh;
  }
  state->counts = sample.counts;
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
  update_means(state, rules, now.monotonic);
  update_busy(state, sample, rules, state->peak > old_peak, now);
  const bool is_full = state->capacity > 0 && state->used_of_capacity >= state->capacity;
  if (!is_full)
    state->full_since = WallTime::none();
  else if (!state->full_since.is_set())
    state->full_since = now.wall;

  state->leaks_per_hour = state->trend.leaks_per_hour(now.monotonic);
  state->observed_on = now.monotonic;
  state->verdict = judge(*state, rules, sample.scope, now.monotonic);
  state->exhausted_at = forecast(*state, now.wall);
}

std::optional<Verdict> take_announcement(PoolState* state, MonotonicTime now) {
  if (state->verdict == state->announced) return std::nullopt;
  if (!is_worth_telling(state->verdict) && !is_worth_telling(state->announced)) return std::nullopt;
  if (state->announced_on.is_set() && now - state->announced_on < kAnnouncementPause) return std::nullopt;
  const Verdict before = state->announced;
  state->announced = state->verdict;
  state->announced_on = now;
  return before;
}

}  // namespace pgleak
