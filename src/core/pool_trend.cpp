#include "core/pool_trend.hpp"

#include <initializer_list>

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

}  // namespace pgleak
