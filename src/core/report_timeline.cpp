#include "core/report_timeline.hpp"

#include <algorithm>
#include <cstring>

namespace pgleak {

namespace {

// Lengths are in tenths of the units of the drawing.
constexpr std::int64_t kWidth = kDrawingWidth;
constexpr std::int64_t kLeastBarWidth = 30;  // as narrow as can be seen
constexpr std::int64_t kBarGap = 20;
constexpr std::int64_t kRowHeight = 120;
constexpr std::int64_t kMargin = 20;
constexpr std::int64_t kCrowdHeight = 600;

constexpr const char* kKindNames[kBarKindCount] = {"open",           "committed", "rolled back", "prepared",
                                                   "disconnected",   "cancelled", "terminated",  "released",
                                                   "server stopped", "other"};
constexpr const char* kKindClasses[kBarKindCount] = {"open",           "committed", "rolled-back", "prepared",
                                                     "disconnected",   "cancelled", "terminated",  "released",
                                                     "server-stopped", "other"};

// A bar in the row that it was put in.
struct PlacedBar {
  std::int64_t x;
  std::int64_t width;
  int row;
};

struct Placement {
  int row_count;
  bool fits;
  PlacedBar bars[kMostBars];
};

PlacedBar place_bar(const ReportPeriod& period, const Bar& bar) {
  const std::int64_t start = period.position(bar.began, kWidth);
  const std::int64_t width = period.position(bar.finished, kWidth) - start;
  return PlacedBar{std::min(start, kWidth - kLeastBarWidth), std::max(width, kLeastBarWidth), 0};
}

// Each bar goes into the first row in which it touches no other. The bars are sorted by their beginning.
void place_bars(const ReportPeriod& period, const Lane& lane, Placement* placement) {
  std::int64_t row_ends[kMostBarRows];
  placement->row_count = 0;
  placement->fits = false;
  for (int i = 0; i < lane.bar_count; i++) {
    PlacedBar placed = place_bar(period, lane.bars[i]);
    while (placed.row < placement->row_count && row_ends[placed.row] > placed.x) placed.row++;
    if (placed.row == kMostBarRows) return;
    if (placed.row == placement->row_count) placement->row_count++;
    row_ends[placed.row] = placed.x + placed.width + kBarGap;
    placement->bars[i] = placed;
  }
  placement->fits = true;
}

void write_bar_title(HtmlWriter* html, const Bar& bar) {
  html->markup("<title>leak ").number(bar.leak_id).markup(", ");
  if (bar.pid != 0) html->markup("pid ").number(bar.pid).markup(", ");
  html->text(bar.role).markup("@").text(bar.database);
  if (bar.route != nullptr) html->markup(", ").text(bar.route);
  html->markup(", ").markup(to_string(bar.kind)).markup(", detected ").time_and_zone(bar.detected_at);
  html->markup(", lasted ").duration(bar.finished - bar.began);
  if (bar.blocked > 0)
    html->markup(", blocked ").number(bar.blocked).markup(bar.blocked == 1 ? " session" : " sessions");
  html->markup("</title>");
}

void write_bar(HtmlWriter* html, const ReportPeriod& period, const Bar& bar, const PlacedBar& placed) {
  const std::int64_t top = placed.row * kRowHeight + kMargin;
  html->markup("<g>");
  write_bar_title(html, bar);
  write_rectangle(html, kKindClasses[static_cast<int>(bar.kind)], placed.x, top, placed.width, 90);
  // Others waited until the end.
  const std::int64_t waited =
      std::min(period.position(period.since + std::min(bar.blocked_for, period.upto - period.since), kWidth),
               placed.width);
  if (waited > 0) write_rectangle(html, "blocked", placed.x + placed.width - waited, top + 60, waited, 30);
  html->markup("</g>");
}

// The number of episodes of each kind that were open in each span, and the most of all kinds together.
struct Crowd {
  std::int32_t count[kBarKindCount][kTimelineSpans];
  std::int32_t total[kTimelineSpans];
  std::int32_t peak;
};

void count_crowd(const Lane& lane, Crowd* crowd) {
  std::memset(crowd, 0, sizeof(*crowd));
  for (int kind = 0; kind < kBarKindCount; kind++) {
    std::int32_t now = 0;
    for (int span = 0; span < kTimelineSpans; span++) {
      now += lane.change[kind][span];
      crowd->count[kind][span] = now;
      crowd->total[span] += now;
      crowd->peak = std::max(crowd->peak, crowd->total[span]);
    }
  }
}

// The columns of one span, one kind on the other.
void write_span(HtmlWriter* html, const Crowd& crowd, int span) {
  const std::int64_t left = span * kWidth / kTimelineSpans;
  const std::int64_t right = (span + 1) * kWidth / kTimelineSpans;
  std::int32_t below = 0;
  for (int kind = 0; kind < kBarKindCount; kind++) {
    const std::int32_t count = crowd.count[kind][span];
    if (count == 0) continue;
    const std::int64_t bottom = kCrowdHeight - kCrowdHeight * below / crowd.peak;
    below += count;
    const std::int64_t top = kCrowdHeight - kCrowdHeight * below / crowd.peak;
    html->markup("<g><title>").count(count).markup(" of ").count(crowd.total[span]);
    html->markup(" at this time: ").markup(kKindNames[kind]).markup("</title>");
    write_rectangle(html, kKindClasses[kind], left, top + kMargin, right - left, bottom - top);
    html->markup("</g>");
  }
}

void write_lane_head(HtmlWriter* html, const Lane& lane) {
  html->markup("<div class=\"lane\"><div>");
  if (lane.applications > 1)
    html->count(lane.applications).markup(" other applications");
  else
    html->text(lane.application[0] == '\0' ? "(no application_name)" : lane.application);
  html->markup("<span class=\"soft\">").count(lane.episodes);
  html->markup(lane.episodes == 1 ? " episode" : " episodes");
  if (lane.open > 0) html->markup(", ").count(lane.open).markup(" open");
}

void begin_drawing(HtmlWriter* html, std::int64_t height) {
  html->markup("</span></div><svg viewBox=\"0 0 1000 ").tenths(height).markup("\" height=\"").tenths(height);
  html->markup("\" preserveAspectRatio=\"none\">");
}

void write_crowd(HtmlWriter* html, const Timeline& timeline, const Lane& lane, const Ticks& ticks) {
  Crowd crowd;
  count_crowd(lane, &crowd);
  html->markup(", at most ").count(crowd.peak).markup(" at a time");
  begin_drawing(html, kCrowdHeight + 2 * kMargin);
  write_grid(html, timeline.period, ticks);
  for (int span = 0; span < kTimelineSpans; span++) write_span(html, crowd, span);
}

bool is_earlier(const Bar& a, const Bar& b) {
  return a.began != b.began ? a.began < b.began : a.leak_id < b.leak_id;
}

void write_lane(HtmlWriter* html, const Timeline& timeline, Lane* lane, const Ticks& ticks) {
  Placement placement{};
  if (lane->wants_bars()) {
    std::sort(lane->bars, lane->bars + lane->bar_count, is_earlier);
    place_bars(timeline.period, *lane, &placement);
  }
  write_lane_head(html, *lane);
  if (placement.fits) {
    begin_drawing(html, std::max(placement.row_count, 1) * kRowHeight + kMargin);
    write_grid(html, timeline.period, ticks);
    for (int i = 0; i < lane->bar_count; i++)
      write_bar(html, timeline.period, lane->bars[i], placement.bars[i]);
  } else {
    write_crowd(html, timeline, *lane, ticks);
  }
  html->markup("</svg></div>");
}

}  // namespace

const char* to_string(BarKind kind) { return kKindNames[static_cast<int>(kind)]; }

BarKind bar_kind_of(const char* outcome) {
  if (outcome == nullptr) return BarKind::kOpen;
  for (int i = 0; i < kBarKindCount; i++)
    if (std::strcmp(outcome, kKindNames[i]) == 0) return static_cast<BarKind>(i);
  return BarKind::kOther;
}

void Lane::add(const ReportPeriod& period, const Bar& bar) {
  const auto span_of = [&period](WallTime time) {
    return std::min<std::int64_t>(period.position(time, kTimelineSpans), kTimelineSpans - 1);
  };
  const std::int64_t first = span_of(bar.began);
  std::int32_t* const changes = change[static_cast<int>(bar.kind)];
  changes[first]++;
  changes[std::max(first, span_of(bar.finished)) + 1]--;
  if (wants_bars() && bar_count < kMostBars) bars[bar_count++] = bar;
}

Lane* Timeline::find_lane(const char* application) {
  for (int i = 0; i < lane_count; i++)
    if (lanes[i].application != nullptr && std::strcmp(lanes[i].application, application) == 0)
      return &lanes[i];
  Lane* const last = lane_count > 0 ? &lanes[lane_count - 1] : nullptr;
  return last != nullptr && last->application == nullptr ? last : nullptr;
}

void write_legend(HtmlWriter* html) {
  html->markup("<div class=\"legend\">");
  const auto write_entry = [html](const char* kind, int top, int height, const char* name) {
    html->markup("<span><svg viewBox=\"0 0 14 12\" aria-hidden=\"true\"><rect class=\"").markup(kind);
    html->markup("\" y=\"")
        .number(top)
        .markup("\" width=\"14\" height=\"")
        .number(height)
        .markup("\"/></svg>");
    html->markup(name).markup("</span>");
  };
  for (int i = 0; i < kBarKindCount - 1; i++) write_entry(kKindClasses[i], 1, 10, kKindNames[i]);
  write_entry("blocked", 5, 3, "others waited for it");
  html->markup("</div>");
}

void write_timeline(HtmlWriter* html, Timeline* timeline) {
  const Ticks ticks = find_ticks(timeline->period, html->to_local_time());
  for (int i = 0; i < timeline->lane_count; i++) write_lane(html, *timeline, &timeline->lanes[i], ticks);
  write_axis(html, timeline->period, ticks);
}

}  // namespace pgleak
