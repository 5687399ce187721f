// The time axis of the report: which moments get a tick, its label, and how both are drawn. Pure. Never
// ereports itself; the writer's sink may.
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

struct Ticks {
  int count;
  Tick ticks[kMostTicks];
};

Ticks find_ticks(const ReportPeriod& period, ToLocalTime to_local_time);

// Writes a moment of the period as short as the length of the period allows: "14:05", or "Jan 31 14:05" if
// the period is longer than a day.
void write_moment(HtmlWriter* html, const ReportPeriod& period, WallTime time);

// The width of the drawings over the axis, in tenths of their units.
inline constexpr std::int64_t kDrawingWidth = 10000;

// A rectangle in a drawing, in tenths. `css_class` is trusted.
void write_rectangle(HtmlWriter* html, const char* css_class, std::int64_t x, std::int64_t y,
                     std::int64_t width, std::int64_t height);

// Lines at the ticks, behind what is drawn afterwards.
void write_grid(HtmlWriter* html, const ReportPeriod& period, const Ticks& ticks);

// The labels of the ticks, below the drawings.
void write_axis(HtmlWriter* html, const ReportPeriod& period, const Ticks& ticks);

}  // namespace pgleak

#endif
