// How samples become the steps of a curve of the report. Pure: lives in memory of the caller.
#ifndef PGLEAK_CORE_REPORT_CURVE_HPP
#define PGLEAK_CORE_REPORT_CURVE_HPP

#include <algorithm>
#include <cstdint>

#include "core/report_axis.hpp"
#include "core/time.hpp"

namespace pgleak {

// A curve shows the period in this number of spans of equal length.
inline constexpr int kCurveSpans = 240;

// A sample stands for a minute, or until the next one if that is late by no more than another minute.
inline constexpr Micros kSampleReach = 60 * kSecond;
inline constexpr Micros kLongestStep = 2 * kSampleReach;

// True if the sample at `at` is followed by that at `next`, without a gap.
inline bool is_next_sample(WallTime at, WallTime next) { return next - at <= kLongestStep; }

// Until when the sample at `at` stands if the next one is at `next`.
inline WallTime end_of_step(WallTime at, WallTime next) {
  return is_next_sample(at, next) ? next : at + kSampleReach;
}

// Calls visit(span) for each span into which the time from `from` to `until` reaches.
template <typename Visit>
void visit_spans(const ReportPeriod& period, WallTime from, WallTime until, Visit visit) {
  if (until <= period.since || from >= period.upto) return;
  const std::int64_t last = period.position(std::min(until, period.upto) - Micros{1}, kCurveSpans);
  for (std::int64_t span = period.position(from, kCurveSpans); span <= last && span < kCurveSpans; span++)
    visit(static_cast<int>(span));
}

// When a span begins; that of kCurveSpans is the end of the period.
inline WallTime start_of_span(const ReportPeriod& period, int span) {
  const double share = static_cast<double>(span) / kCurveSpans;
  return period.since +
         Micros{static_cast<std::int64_t>(static_cast<double>((period.upto - period.since).us) * share)};
}

// Where a span begins in a drawing.
inline std::int64_t left_of_span(int span) { return span * kDrawingWidth / kCurveSpans; }

}  // namespace pgleak

#endif
