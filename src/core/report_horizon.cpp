#include "core/report_horizon.hpp"

#include <algorithm>

namespace pgleak {

namespace {

// In tenths, as in report_axis.hpp. The grid's lines are 400 units long.
constexpr std::int64_t kHeight = 900;
constexpr std::int64_t kMargin = 20;
constexpr std::int64_t kLeastHeight =
    15;  // as low as can be seen: a sample was taken, and nobody held anything

// The highest age below the top of the drawing is `peak`.
std::int64_t height_of(std::int64_t age, std::int64_t peak) {
  if (peak <= 0 || age <= 0) return kLeastHeight;
  const double share = static_cast<double>(age) / static_cast<double>(peak);
  return std::max(kLeastHeight, static_cast<std::int64_t>(share * static_cast<double>(kHeight)));
}

void write_transactions(HtmlWriter* html, std::int64_t count) {
  html->count(count).markup(count == 1 ? " transaction" : " transactions");
}

// The spans from `first` to before `end`, which have the same age.
void write_step(HtmlWriter* html, const ReportPeriod& period, const HorizonCurve& curve, int first, int end) {
  const std::int64_t age = curve.age_in(first);
  const std::int64_t left = left_of_span(first);
  const std::int64_t right = left_of_span(end);
  const std::int64_t height = height_of(age, curve.peak());
  html->markup("<g><title>from ").time_and_zone(start_of_span(period, first)).markup(": ");
  if (age > 0)
    write_transactions(html, age);
  else
    html->markup("nobody held VACUUM back");
  html->markup("</title>");
  write_rectangle(html, "horizon", left, kHeight + kMargin - height, right - left, height);
  html->markup("</g>");
}

// A span without a sample stays empty.
void write_steps(HtmlWriter* html, const ReportPeriod& period, const HorizonCurve& curve) {
  for (int first = 0, end = 0; first < kCurveSpans; first = end) {
    end = first + 1;
    while (end < kCurveSpans && curve.age_in(end) == curve.age_in(first)) end++;
    if (curve.age_in(first) != kNoNumber) write_step(html, period, curve, first, end);
  }
}

void write_curve(HtmlWriter* html, const ReportPeriod& period, const HorizonCurve& curve) {
  const Ticks ticks = find_ticks(period, html->to_local_time());
  html->markup("<div class=\"lane\"><div>age of the oldest holder<span class=\"soft\">at most ");
  write_transactions(html, curve.peak());
  html->markup("</span></div><svg viewBox=\"0 0 1000 ").tenths(kHeight + kMargin);
  html->markup("\" height=\"").tenths(kHeight + kMargin).markup("\" preserveAspectRatio=\"none\">");
  write_grid(html, period, ticks);
  write_steps(html, period, curve);
  html->markup("</svg></div>");
  write_axis(html, period, ticks);
}

void write_worst(HtmlWriter* html, const WorstMoment& worst) {
  if (!worst.at.is_set()) {
    html->markup("<p>Nobody held VACUUM back when the samples were taken.</p>");
    return;
  }
  html->markup("<p>At its worst, ")
      .time_and_zone(worst.at)
      .markup(", VACUUM had to keep the dead rows of <b>");
  write_transactions(html, worst.age);
  html->markup("</b>: ").text(worst.kind).markup(" <b>").text(worst.holder).markup("</b>");
  if (worst.held_for >= Micros{0}) html->markup(", for ").duration(worst.held_for);
  html->markup(".</p>");
}

constexpr Column kColumns[] = {{"Holder", ""},    {"Keeps", ""},     {"Transactions", "number"},
                               {"For", "number"}, {"WAL", "number"}, {"What ends it", "wide"}};

void write_bytes_or_dash(HtmlWriter* html, std::int64_t bytes) {
  if (bytes == kNoNumber)
    html->markup("-");
  else if (bytes < 10 * 1024 * 1024)
    html->count(bytes / 1024).markup(" kB");
  else
    html->count(bytes / (1024 * 1024)).markup(" MB");
}

void write_holder_name(HtmlWriter* html, const HolderRow& row) {
  html->text(row.kind);
  if (row.name != nullptr) html->markup(" <b>").text(row.name).markup("</b>");
  html->markup("<br><span class=\"soft\">");
  if (row.role != nullptr) html->text(row.role).markup("@");
  if (row.database != nullptr)
    html->text(row.database);
  else
    html->markup("every database");
  if (row.pid != kNoNumber) html->markup(", pid ").number(row.pid);
  if (row.is_oldest) html->markup(", the oldest");
  html->markup("</span>");
}

void write_holder(HtmlWriter* html, const HolderRow& row) {
  const Column* column = kColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] { write_holder_name(html, row); });
  write_cell(html, *column++, [&] { html->text(row.holds); });
  write_cell(html, *column++, [&] {
    if (row.age == kNoNumber)
      html->markup("-");
    else
      html->count(row.age);
  });
  write_cell(html, *column++, [&] { write_duration_or_dash(html, row.held_for, Micros{0}); });
  write_cell(html, *column++, [&] { write_bytes_or_dash(html, row.retained_bytes); });
  write_cell(html, *column++, [&] {
    if (row.remedy == nullptr)
      html->markup("-");
    else
      html->markup("<code>").text(row.remedy).markup("</code>");
  });
  html->markup("</tr>");
}

void write_holders(HtmlWriter* html, const TableRows<HolderRow>& holders) {
  if (holders.count == 0) {
    html->markup("<p class=\"soft\">At the time of this report, nobody holds VACUUM back or keeps WAL.</p>");
    return;
  }
  html->markup("<p>At the time of this report:</p>");
  begin_table(html, kColumns);
  for (int i = 0; i < holders.count; i++) write_holder(html, holders.rows[i]);
  end_table(html);
}

constexpr Column kLeakColumns[] = {
    {"Leak", ""},      {"Detected", ""}, {"Oldest for", "number"}, {"Transactions", "number"},
    {"WAL", "number"}, {"Outcome", ""}};

void write_leak_name(HtmlWriter* html, const OldLeakRow& row) {
  html->markup("<b>").text(row.name == nullptr ? "" : row.name).markup("</b><br><span class=\"soft\">");
  html->text(row.role).markup("@").text(row.database);
  if (row.pid != kNoNumber) html->markup(", pid ").number(row.pid);
  html->markup("</span>");
}

void write_leak(HtmlWriter* html, const OldLeakRow& row) {
  const Column* column = kLeakColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] { write_leak_name(html, row); });
  write_cell(html, *column++, [&] { html->time_and_zone(row.detected_at); });
  write_cell(html, *column++, [&] { write_duration_or_dash(html, row.oldest_for, Micros{0}); });
  write_cell(html, *column++, [&] {
    if (row.xmin_age == kNoNumber)
      html->markup("-");
    else
      html->count(row.xmin_age);
  });
  write_cell(html, *column++, [&] {
    write_bytes_or_dash(html, row.retained_bytes);
    if (row.slot_name != nullptr)
      html->markup("<br><span class=\"soft\">slot ").text(row.slot_name).markup("</span>");
  });
  write_cell(html, *column++, [&] { html->text(row.outcome == nullptr ? "open" : row.outcome); });
  html->markup("</tr>");
}

void write_old_leaks(HtmlWriter* html, const TableRows<OldLeakRow>& leaks) {
  if (leaks.count == 0) return;
  html->markup("<p>Leaks of this period that held VACUUM back longest, or for which a slot kept WAL:</p>");
  begin_table(html, kLeakColumns);
  for (int i = 0; i < leaks.count; i++) write_leak(html, leaks.rows[i]);
  end_table(html);
}

}  // namespace

void HorizonCurve::add(const ReportPeriod& period, WallTime taken_at, std::int64_t age) {
  if (taken_at >= period.upto || taken_at + kLongestStep <= period.since) return;
  if (samples_ > 0) {
    if (taken_at <= last_at_) return;
    cover(period, end_of_step(last_at_, taken_at));
  }
  samples_++;
  last_at_ = taken_at;
  last_age_ = std::max<std::int64_t>(age, 0);
}

void HorizonCurve::finish(const ReportPeriod& period) {
  if (samples_ > 0) cover(period, last_at_ + kSampleReach);
}

// The last sample stands for the time until `until`. What reaches into a span counts for all of it.
void HorizonCurve::cover(const ReportPeriod& period, WallTime until) {
  if (until <= period.since) return;
  visit_spans(period, last_at_, until,
              [this](int span) { highest_[span] = std::max(highest_[span], last_age_ + 1); });
  peak_ = std::max(peak_, last_age_);
}

void write_horizon(HtmlWriter* html, const ReportPeriod& period, const HorizonSection& section) {
  html->markup("<h2>What holds VACUUM back</h2>");
  if (section.curve.samples() == 0) {
    html->markup("<p class=\"soft\">No sample was taken in this period.</p>");
  } else {
    write_worst(html, section.worst);
    write_curve(html, period, section.curve);
  }
  write_holders(html, section.holders);
  write_old_leaks(html, section.leaks);
}

}  // namespace pgleak
