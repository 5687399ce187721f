// The leaks and connections of one pool over a day, in fixed space: its peak, and the rate of its leaks.
//
// Lives in shared memory: trivially copyable. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_TREND_HPP
#define PGLEAK_CORE_POOL_TREND_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// The numbers at the start of each of the last minutes and hours. Zero-initialized means no record yet:
// before its first record, a pool had no leaks.
class PoolTrend {
 public:
  void record(std::int32_t leaked, std::int32_t connections, MonotonicTime now);

  // Most connections at any sample in the last 24 hours (to the hour).
  std::int32_t peak() const;

  // Leaks opened minus leaks ended per hour, at least 0, over the shortest of 5 minutes, an hour and a day
  // that has seen enough of them. So a burst shows soon, and a rate of one an hour shows at all.
  double leaks_per_hour(MonotonicTime now) const;

 private:
  static constexpr std::int64_t kMinutes = 61;
  static constexpr std::int64_t kHours = 25;

  struct Growth {
    std::int32_t count;
    Micros span;
  };
  Growth growth_over_minutes(std::int64_t minutes, MonotonicTime now) const;
  Growth growth_over_hours(std::int64_t hours, MonotonicTime now) const;

  MonotonicTime since_;  // none: no record yet
  std::int64_t minute_;  // minutes since `since_`
  std::int64_t hour_;
  std::int32_t leaked_;  // as of the last record
  std::uint16_t leaked_at_minute_[kMinutes];
  std::uint16_t leaked_at_hour_[kHours];
  std::uint16_t peak_in_hour_[kHours];
};

}  // namespace pgleak

#endif
