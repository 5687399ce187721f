// The time axis of the report: which moments get a tick, and its label. Pure. Never ereports.
#ifndef PGLEAK_CORE_REPORT_AXIS_HPP
#define PGLEAK_CORE_REPORT_AXIS_HPP

#include <cstddef>
#include <cstdint>

#include "core/html.hpp"
#include "core/time.hpp"

namespace pgleak {

// since < upto; less than 100 years apart, and both within 10,000 years of 2000.
struct ReportPeriod {
  WallTime since;
  WallTime upto;

  // Where a moment lies on a line of `length` units that shows the period: 0 to `length`, rounded down.
  std::int64_t position(WallTime time, std::int64_t length) const;
};

struct Tick {
  WallTime at;
  char label[12];  // "Jan 31", "14:05", "14:05:30" or "Jan 2026"
};

inline constexpr int kMostTicks = 12;

// Writes the ticks of a period into `ticks`, in order, and returns their number. They are at most 8, or 9
// where the clocks are set back, and stand at round local times: whole hours, midnights.
int find_ticks(const ReportPeriod& period, ToLocalTime to_local_time, Tick (&ticks)[kMostTicks]);

}  // namespace pgleak

#endif
