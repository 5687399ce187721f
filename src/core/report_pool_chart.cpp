// One chart of a pool: lines over the open connections, a strip with the verdict below, and marks where it
// changed.

#include <algorithm>

#include "core/report_pools.hpp"

namespace pgleak {

namespace {

// In tenths, as in report_axis.hpp. The grid's lines are 400 units long.
constexpr std::int64_t kTop = 20;
constexpr std::int64_t kHeight = 800;
constexpr std::int64_t kBase = kTop + kHeight;
constexpr std::int64_t kStripHeight = 60;
constexpr std::int64_t kTotalHeight = kBase + kStripHeight + 10;

// Thousandths of the width that a label takes, without and with a date.
constexpr std::int64_t kShortLabel = 125;
constexpr std::int64_t kLongLabel = 180;

struct Chart {
  const PoolCurve& curve;
  std::int32_t peak;  // at the top

  std::int64_t height_at(std::int32_t number) const {
    return kBase - kHeight * std::clamp(number, 0, peak) / peak;
  }
};

using Number = std::int32_t PoolPoint::*;

struct Series {
  Number number;
  const char* css_class;
  const char* name;
  bool shows_zero;
};

// Later ones lie over earlier ones. What leaks or waits stands out only where it is not zero.
constexpr Series kSeries[] = {{&PoolPoint::size, "size", "connections", true},
                              {&PoolPoint::in_use, "in-use", "in use", true},
                              {&PoolPoint::leaked, "leaked", "leaked", false},
                              {&PoolPoint::waiting, "waiting", "waiting for locks", false}};

bool is_same(const PoolPoint& a, const PoolPoint& b) {
  return a.size == b.size && a.in_use == b.in_use && a.leaked == b.leaked && a.waiting == b.waiting &&
         a.verdict == b.verdict;
}

// The first span after `first` whose point is another one.
int end_of_run(const PoolCurve& curve, int first) {
  int end = first + 1;
  while (end < kCurveSpans && curve.has(end) == curve.has(first) &&
         (!curve.has(first) || is_same(curve.in(end), curve.in(first))))
    end++;
  return end;
}

void write_numbers(HtmlWriter* html, const PoolPoint& point) {
  if (point.in_use != kNotKnown) html->markup(", ").count(point.in_use).markup(" in use");
  if (point.size != kNotKnown) html->markup(" of ").count(point.size);
  if (point.leaked > 0) html->markup(", ").count(point.leaked).markup(" leaked");
  if (point.waiting > 0) html->markup(", ").count(point.waiting).markup(" waiting");
}

// What is in use as an area, down to below the strip: it tells on hover what is there.
void write_steps(HtmlWriter* html, const ReportPeriod& period, const Chart& chart) {
  for (int first = 0, end = 0; first < kCurveSpans; first = end) {
    end = end_of_run(chart.curve, first);
    if (!chart.curve.has(first)) continue;
    const PoolPoint& point = chart.curve.in(first);
    html->markup("<path class=\"use\" d=\"M");
    html->tenths(left_of_span(first)).markup(" ").tenths(kBase + kStripHeight).markup("V");
    html->tenths(chart.height_at(point.in_use)).markup("H").tenths(left_of_span(end)).markup("V");
    html->tenths(kBase + kStripHeight).markup("\"><title>");
    write_moment(html, period, start_of_span(period, first));
    html->markup(" ").markup(to_string(point.verdict));
    write_numbers(html, point);
    html->markup("</title></path>");
  }
}

// The verdict over time, a line for each along the base.
void write_strip(HtmlWriter* html, const PoolCurve& curve) {
  for (int i = 0; i < kSampledVerdictCount; i++) {
    const SampledVerdict verdict = static_cast<SampledVerdict>(i);
    bool has_begun = false;
    for (int first = 0, end = 0; first < kCurveSpans; first = end) {
      end = first + 1;
      if (!curve.has(first) || curve.in(first).verdict != verdict) continue;
      while (end < kCurveSpans && curve.has(end) && curve.in(end).verdict == verdict) end++;
      if (!has_begun) html->markup("<path class=\"strip ").markup(to_string(verdict)).markup("\" d=\"");
      has_begun = true;
      html->markup("M").tenths(left_of_span(first)).markup(" ").tenths(kBase + kStripHeight / 2);
      html->markup("H").tenths(left_of_span(end));
    }
    if (has_begun) html->markup("\"/>");
  }
}

// Times in which nobody looked.
void write_gaps(HtmlWriter* html, const PoolCurves& curves) {
  for (int first = 0, end = 0; first < kCurveSpans; first = end) {
    end = first + 1;
    while (end < kCurveSpans && curves.is_sampled(end) == curves.is_sampled(first)) end++;
    if (curves.is_sampled(first)) continue;
    html->markup("<g><title>no sample was taken</title>");
    write_rectangle(html, "gap", left_of_span(first), 0, left_of_span(end) - left_of_span(first),
                    kTotalHeight);
    html->markup("</g>");
  }
}

// One series as steps. It is interrupted where the pool has no sample or the number is not known.
class LineWriter {
 public:
  LineWriter(HtmlWriter* html, const Chart& chart, const Series& series)
      : html_(html), chart_(chart), series_(series) {}

  void write() {
    html_->markup("<path class=\"").markup(series_.css_class).markup("\" d=\"");
    for (int first = 0, end = 0; first < kCurveSpans; first = end) {
      end = first + 1;
      while (end < kCurveSpans && number_in(end) == number_in(first)) end++;
      write_step(first, end);
    }
    html_->markup("\"/>");
  }

 private:
  std::int32_t number_in(int span) const {
    if (span < 0 || span >= kCurveSpans || !chart_.curve.has(span)) return kNotKnown;
    return std::max(chart_.curve.in(span).*series_.number, kNotKnown);
  }

  bool is_drawn(std::int32_t number) const { return number > 0 || (number == 0 && series_.shows_zero); }

  void write_step(int first, int end) {
    const std::int32_t number = number_in(first);
    if (!is_drawn(number)) return;
    const std::int32_t before = number_in(first - 1);
    if (!is_drawn(before)) {
      html_->markup("M").tenths(left_of_span(first)).markup(" ");
      html_->tenths(chart_.height_at(before == kNotKnown ? number : 0));
    }
    html_->markup("V").tenths(chart_.height_at(number)).markup("H").tenths(left_of_span(end));
    if (number_in(end) == 0 && !is_drawn(0)) html_->markup("V").tenths(kBase);
  }

  HtmlWriter* html_;
  const Chart& chart_;
  const Series& series_;
};

void write_marks(HtmlWriter* html, const ReportPeriod& period, const PoolCurve& curve) {
  for (int i = 0; i < curve.kept_changes(); i++) {
    const ChangedVerdict& change = curve.change(i);
    const std::int64_t x = period.position(change.at, kDrawingWidth);
    html->markup("<g><title>").time_and_zone(change.at).markup(": ").markup(to_string(change.point.verdict));
    html->markup(", before: ").markup(change.is_before_known ? to_string(change.before) : "no sample");
    html->markup("</title><line class=\"mark ").markup(to_string(change.point.verdict));
    html->markup("\" x1=\"").tenths(x).markup("\" x2=\"").tenths(x);
    html->markup("\" y1=\"0\" y2=\"").tenths(kTotalHeight).markup("\"/></g>");
  }
}

// The verdict and its time above each mark, as far as there is room. The table has them all.
void write_labels(HtmlWriter* html, const ReportPeriod& period, const PoolCurve& curve) {
  const bool has_date = period.upto - period.since > 86400 * kSecond;
  const std::int64_t width = has_date ? kLongLabel : kShortLabel;
  std::int64_t free_from = 0;
  html->markup("<div class=\"marks\" aria-hidden=\"true\">");
  for (int i = 0; i < curve.kept_changes(); i++) {
    const ChangedVerdict& change = curve.change(i);
    // A label at the right end would stick out.
    const std::int64_t x = std::min(period.position(change.at, 1000), 1000 - width);
    if (x < free_from) continue;
    free_from = x + width;
    html->markup("<span class=\"verdict ").markup(to_string(change.point.verdict));
    html->markup("\" style=\"left:").tenths(x).markup("%\">").markup(to_string(change.point.verdict));
    html->markup(" ");
    write_moment(html, period, change.at);
    html->markup("</span>");
  }
  html->markup("</div>");
}

void write_peak(HtmlWriter* html, const PoolPoint& peak) {
  html->markup("<span class=\"soft\">at most ").count(std::max(peak.in_use, 0)).markup(" of ");
  html->count(std::max(peak.size, 0)).markup(" in use");
  if (peak.leaked > 0) html->markup(", ").count(peak.leaked).markup(" leaked");
  if (peak.waiting > 0) html->markup(", ").count(peak.waiting).markup(" waiting");
  html->markup("</span>");
}

}  // namespace

void write_pool_legend(HtmlWriter* html) {
  html->markup("<div class=\"legend\">");
  for (const Series& series : kSeries) {
    html->markup("<span><svg viewBox=\"0 0 14 12\" aria-hidden=\"true\"><path class=\"");
    html->markup(series.css_class).markup("\" d=\"M0 6H14\"/></svg>").markup(series.name).markup("</span>");
  }
  for (int i = static_cast<int>(SampledVerdict::kOk); i <= static_cast<int>(SampledVerdict::kLeaking); i++) {
    const char* const verdict = to_string(static_cast<SampledVerdict>(i));
    html->markup("<span><svg viewBox=\"0 0 14 12\" aria-hidden=\"true\"><path class=\"strip ")
        .markup(verdict);
    html->markup("\" d=\"M0 6H14\"/></svg>").markup(verdict).markup("</span>");
  }
  html->markup("<span><svg viewBox=\"0 0 14 12\" aria-hidden=\"true\"><rect class=\"gap\" width=\"14\" ");
  html->markup(
      "height=\"12\"/></svg>no sample</span><span class=\"soft\">nothing drawn: the pool was fine</span>");
  html->markup("</div>");
}

void write_pool_chart(HtmlWriter* html, const ReportPeriod& period, const PoolName& name,
                      const PoolCurves& curves, int index, const Ticks& ticks) {
  const PoolCurve& curve = curves.curve(index);
  const PoolPoint& peak = curve.peak();
  const Chart chart{curve, std::max({peak.size, peak.in_use, peak.leaked, peak.waiting, 1})};
  html->markup("<div class=\"lane pool\"><div>");
  write_pool_name(html, name);
  write_peak(html, peak);
  html->markup("</div><div class=\"chart\">");
  write_labels(html, period, curve);
  html->markup("<svg viewBox=\"0 0 1000 ").tenths(kTotalHeight).markup("\" height=\"").tenths(kTotalHeight);
  html->markup("\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
  html->markup("connections of the pool over time; the table below lists the changes\">");
  write_gaps(html, curves);
  write_grid(html, period, ticks);
  write_steps(html, period, chart);
  write_strip(html, curve);
  for (const Series& series : kSeries) LineWriter(html, chart, series).write();
  write_marks(html, period, curve);
  html->markup("</svg></div></div>");
}

}  // namespace pgleak
