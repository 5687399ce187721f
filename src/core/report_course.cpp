#include "core/report_course.hpp"

#include <algorithm>
#include <cstring>

#include "core/report_axis.hpp"
#include "core/report_pools.hpp"

namespace pgleak {

namespace {

// In tenths of the drawing's units.
constexpr std::int64_t kBarHeight = 180;
constexpr std::int64_t kMargin = 40;
constexpr std::int64_t kLeastBarWidth = 30;  // so that a short statement shows

bool is_timed(const Step& step) { return step.at.is_set() && step.lasted >= Micros{0}; }

// From the first moment that is known to the last. Not empty, because nothing can be drawn in no time.
ReportPeriod period_of(const Course& course) {
  ReportPeriod period{WallTime::none(), WallTime::none()};
  for (int i = 0; i < course.step_count; i++) {
    const Step& step = course.steps[i];
    if (!step.at.is_set()) continue;
    if (!period.since.is_set()) period.since = period.upto = step.at;
    period.upto = std::max(period.upto, is_timed(step) ? step.at + step.lasted : step.at);
  }
  if (period.upto <= period.since) period.upto = period.since + Micros{1};
  return period;
}

struct Shares {
  Micros work;
  Micros silence;
};

Shares shares_of(const Course& course) {
  Shares shares{};
  for (int i = 0; i < course.step_count; i++) {
    const Step& step = course.steps[i];
    if (!is_timed(step)) continue;
    const Micros silence = std::min(step.kind == StepKind::kIdle ? step.lasted : step.idle, step.lasted);
    shares.silence = shares.silence + silence;
    shares.work = shares.work + (step.lasted - silence);
  }
  return shares;
}

void write_bar(HtmlWriter* html, const ReportPeriod& period, const Step& step) {
  const bool is_idle = step.kind == StepKind::kIdle;
  const std::int64_t start = period.position(step.at, kDrawingWidth);
  const std::int64_t end = period.position(step.at + std::max(step.lasted, Micros{0}), kDrawingWidth);
  const std::int64_t width = std::max(end - start, is_idle ? 0 : kLeastBarWidth);
  html->markup("<g><title>").markup(is_idle ? "silent for " : "");
  if (!is_idle) html->text(step.query).markup(", ");
  if (step.lasted < Micros{0})
    html->markup("nobody knows for how long");
  else
    html->duration(step.lasted);
  html->markup("</title>");
  const std::int64_t height = is_idle ? kBarHeight / 3 : kBarHeight;
  const char* const css_class = is_idle ? "silence" : step.count > 1 ? "work several" : "work";
  write_rectangle(html, css_class, std::min(start, kDrawingWidth - kLeastBarWidth),
                  kMargin + kBarHeight - height, width, height);
  html->markup("</g>");
}

void write_drawing(HtmlWriter* html, const ReportPeriod& period, const Course& course) {
  html->markup("<svg viewBox=\"0 0 1000 ").tenths(kBarHeight + 2 * kMargin);
  html->markup("\" height=\"").tenths(kBarHeight + 2 * kMargin);
  html->markup("\" preserveAspectRatio=\"none\">");
  // The statements come on top: one of a millisecond must not vanish below minutes of silence.
  for (const StepKind kind : {StepKind::kIdle, StepKind::kStatement})
    for (int i = 0; i < course.step_count; i++)
      if (course.steps[i].kind == kind && course.steps[i].at.is_set())
        write_bar(html, period, course.steps[i]);
  html->markup("</svg>");
}

constexpr Column kStepColumns[] = {{"After", "number"}, {"For", "number"}, {"What", "wide"}};

void write_step(HtmlWriter* html, const ReportPeriod& period, const Step& step) {
  const Column* column = kStepColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] {
    write_duration_or_dash(html, step.at.is_set() ? step.at - period.since : Micros{kNoNumber}, Micros{0});
  });
  write_cell(html, *column++, [&] { write_duration_or_dash(html, step.lasted, Micros{0}); });
  write_cell(html, *column++, [&] {
    if (step.kind == StepKind::kIdle) {
      html->markup("<span class=\"soft\">silence</span>");
    } else if (step.kind == StepKind::kOmitted) {
      html->markup("<span class=\"soft\">")
          .count(step.count)
          .markup(" more that the trail does not show</span>");
    } else {
      html->markup("<code>").text(step.query).markup("</code>");
      if (step.count > 1) html->markup(" ").count(step.count).markup(" times in a row");
    }
  });
  html->markup("</tr>");
}

void write_steps(HtmlWriter* html, const ReportPeriod& period, const Course& course) {
  const Shares shares = shares_of(course);
  html->markup("<details><summary>").duration(period.upto - period.since).markup(": ");
  html->duration(shares.work).markup(" of work, ").duration(shares.silence).markup(" of silence</summary>");
  begin_table(html, kStepColumns);
  for (int i = 0; i < course.step_count; i++) write_step(html, period, course.steps[i]);
  end_table(html);
  html->markup("</details>");
}

void write_course(HtmlWriter* html, const Course& course) {
  const ReportPeriod period = period_of(course);
  html->markup("<div class=\"lane\"><div>");
  write_application(html, course.application);
  begin_subtitle(html, course.role, course.database);
  html->markup(", pid ").number(course.pid).markup(", leak ").number(course.leak_id).markup("</span>");
  if (course.place != nullptr) html->markup("<b>").text(course.place).markup("</b>");
  html->markup("</div><div class=\"course\">");
  write_drawing(html, period, course);
  write_steps(html, period, course);
  html->markup("</div></div>");
}

}  // namespace

StepKind step_kind_of(const char* activity) {
  if (std::strcmp(activity, "idle") == 0) return StepKind::kIdle;
  return std::strcmp(activity, "omitted") == 0 ? StepKind::kOmitted : StepKind::kStatement;
}

void write_courses(HtmlWriter* html, const CoursesSection& section) {
  if (section.count == 0) return;
  html->markup("<h2>Inside the worst transactions</h2><p class=\"soft\">")
      .markup(
          "Those that kept others waiting longest, then those that were silent longest. Tall bars are "
          "statements, ")
      .markup("low ones silence.</p>");
  for (int i = 0; i < section.count; i++) write_course(html, section.courses[i]);
}

}  // namespace pgleak
