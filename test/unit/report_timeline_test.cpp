// The timeline of the report: bars that do not overlap, lanes that are too full for bars, episodes that began
// before the period or have not ended.
#include "core/report_timeline.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "report_samples.hpp"

namespace pgleak {
namespace {

constexpr Micros kHour = 3600 * kSecond;
constexpr Micros kDay = 24 * kHour;
const WallTime kUpto = at(2026, 1, 31);
const WallTime kSince = kUpto - kDay;

struct Rectangle {
  std::string kind;
  double x, y, width, height;
};

Bar bar_of(WallTime began, WallTime finished, BarKind kind = BarKind::kCommitted) {
  Bar bar{};
  bar.kind = kind;
  bar.began = began;
  bar.finished = finished;
  bar.detected_at = began + kSecond;
  bar.role = "shop";
  bar.database = "orders";
  return bar;
}

// A timeline with a lane for each application, whose episodes are given.
class ReportTimelineTest : public testing::Test {
 protected:
  ReportTimelineTest() : timeline_(std::make_unique<Timeline>()) {
    timeline_->period = ReportPeriod{kSince, kUpto};
  }

  Lane* add_lane(const char* application, const std::vector<Bar>& bars) {
    Lane* const lane = &timeline_->lanes[timeline_->lane_count++];
    lane->application = application;
    lane->applications = 1;
    lane->episodes = static_cast<std::int64_t>(bars.size());
    for (const Bar& bar : bars) lane->add(timeline_->period, bar);
    return lane;
  }

  std::string page() {
    return written([this](HtmlWriter* html) { write_timeline(html, timeline_.get()); });
  }

  static std::vector<Rectangle> rectangles(const std::string& page) {
    static const std::regex pattern(
        R"re(<rect class="([a-z-]+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/>)re");
    std::vector<Rectangle> found;
    for (std::sregex_iterator i(page.begin(), page.end(), pattern), end; i != end; ++i)
      found.push_back(
          {(*i)[1], std::stod((*i)[2]), std::stod((*i)[3]), std::stod((*i)[4]), std::stod((*i)[5])});
    return found;
  }

  std::unique_ptr<Timeline> timeline_;
};

TEST_F(ReportTimelineTest, WithoutEpisodesThereIsAnAxisOnly) {
  const std::string shown = page();
  EXPECT_EQ(occurrences(shown, "<svg"), 0);
  EXPECT_EQ(shown.rfind("<div class=\"axis\"", 0), 0U) << shown;
}

TEST_F(ReportTimelineTest, ABarLiesWhereItsTimeIs) {
  add_lane("shop", {bar_of(kSince + 6 * kHour, kSince + 12 * kHour, BarKind::kRolledBack)});
  const std::vector<Rectangle> bars = rectangles(page());
  ASSERT_EQ(bars.size(), 1U);
  EXPECT_EQ(bars[0].kind, "rolled-back");
  EXPECT_EQ(bars[0].x, 250);
  EXPECT_EQ(bars[0].width, 250);
}

TEST_F(ReportTimelineTest, ABarSaysWhatHappened) {
  Bar bar = bar_of(kSince + kHour, kSince + 2 * kHour, BarKind::kCancelled);
  bar.leak_id = 7;
  bar.pid = 4711;
  bar.route = "/<orders>";
  bar.blocked = 3;
  bar.blocked_for = kHour / 2;
  add_lane("shop", {bar});
  const std::string shown = page();
  EXPECT_NE(shown.find("<title>leak 7, pid 4711, shop@orders, /&lt;orders&gt;, cancelled, "
                       "detected 2026-01-30 01:00:01&#160;UTC+00, lasted 1h 0m, blocked 3 sessions</title>"),
            std::string::npos)
      << shown;
  const std::vector<Rectangle> found = rectangles(shown);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[1].kind, "blocked");
  EXPECT_NEAR(found[1].x + found[1].width, found[0].x + found[0].width, 0.11);
  EXPECT_NEAR(found[1].width, found[0].width / 2, 0.11);
}

TEST_F(ReportTimelineTest, EpisodesBeyondThePeriodAreCutAtItsEdges) {
  add_lane("shop", {bar_of(kSince - 9 * kDay, kUpto + kDay)});
  const std::vector<Rectangle> bars = rectangles(page());
  ASSERT_EQ(bars.size(), 1U);
  EXPECT_EQ(bars[0].x, 0);
  EXPECT_EQ(bars[0].width, 1000);
}

TEST_F(ReportTimelineTest, WhatHasJustBegunCanBeSeen) {
  add_lane("shop",
           {bar_of(kUpto - Micros{1}, kUpto, BarKind::kOpen), bar_of(kUpto + kHour, kUpto, BarKind::kOpen)});
  for (const Rectangle& bar : rectangles(page())) {
    EXPECT_GE(bar.width, 3);
    EXPECT_LE(bar.x + bar.width, 1000);
  }
}

TEST_F(ReportTimelineTest, WaitingIsNeverLongerThanItsBar) {
  Bar bar = bar_of(kSince + kHour, kSince + 2 * kHour);
  bar.blocked_for = kForever;
  add_lane("shop", {bar});
  const std::vector<Rectangle> found = rectangles(page());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[1].width, found[0].width);
}

TEST_F(ReportTimelineTest, OverlappingBarsGoIntoRows) {
  std::vector<Bar> bars;
  for (int i = 0; i < 100; i++)
    bars.push_back(
        bar_of(kSince + (i * 389 % 1440) * 60 * kSecond, kSince + (i * 389 % 1440 + i % 90) * 60 * kSecond));
  add_lane("shop", bars);
  const std::vector<Rectangle> found = rectangles(page());
  ASSERT_EQ(found.size(), bars.size());
  for (size_t i = 0; i < found.size(); i++)
    for (size_t j = i + 1; j < found.size(); j++)
      EXPECT_TRUE(found[i].y != found[j].y || found[i].x + found[i].width <= found[j].x ||
                  found[j].x + found[j].width <= found[i].x)
          << i << " and " << j;
}

TEST_F(ReportTimelineTest, BarsThatFollowEachOtherShareARow) {
  add_lane("shop", {bar_of(kSince + 3 * kHour, kSince + 4 * kHour), bar_of(kSince, kSince + kHour)});
  const std::vector<Rectangle> bars = rectangles(page());
  ASSERT_EQ(bars.size(), 2U);
  EXPECT_EQ(bars[0].y, bars[1].y);
  EXPECT_LT(bars[0].x, bars[1].x);
}

TEST_F(ReportTimelineTest, MoreBarsThanFitBecomeColumns) {
  const Bar bar = bar_of(kSince, kSince + kDay / 2);
  add_lane("fits", std::vector<Bar>(kMostBarRows, bar));
  add_lane("does not fit", std::vector<Bar>(kMostBarRows + 1, bar));
  const std::string shown = page();
  const size_t second = shown.find("does not fit");
  EXPECT_EQ(rectangles(shown.substr(0, second)).size(), static_cast<size_t>(kMostBarRows));
  // Half of the period and the span in which it ends.
  EXPECT_EQ(rectangles(shown.substr(second)).size(), static_cast<size_t>(kTimelineSpans / 2 + 1));
  EXPECT_NE(shown.find("25 episodes, at most 25 at a time", second), std::string::npos)
      << shown.substr(second, 200);
}

TEST_F(ReportTimelineTest, ColumnsCountWhatIsOpen) {
  std::vector<Bar> bars;
  for (int i = 0; i < 1000; i++)
    bars.push_back(bar_of(kSince + i * kDay / 1000, kSince + i * kDay / 1000 + kHour,
                          i % 2 == 0 ? BarKind::kCommitted : BarKind::kTerminated));
  Lane* const lane = add_lane("shop", bars);
  EXPECT_EQ(lane->bar_count, 0);
  const std::string shown = page();
  const std::vector<Rectangle> columns = rectangles(shown);
  EXPECT_EQ(columns.size(), 2U * kTimelineSpans);
  double highest = 100;
  for (size_t i = 0; i < columns.size(); i++) {
    highest = std::min(highest, columns[i].y);
    EXPECT_GE(columns[i].y, 2);
    EXPECT_LE(columns[i].y + columns[i].height, 62.01);
    // Columns of one span stand on each other, spans beside each other.
    if (i % 2 == 1) {
      EXPECT_EQ(columns[i].x, columns[i - 1].x);
      EXPECT_NEAR(columns[i].y + columns[i].height, columns[i - 1].y, 0.01);
    } else if (i > 0) {
      EXPECT_NEAR(columns[i].x, columns[i - 1].x + columns[i - 1].width, 0.01);
    }
  }
  EXPECT_EQ(highest, 2);
  EXPECT_NE(shown.find("<title>25 of 50 at this time: committed</title>"), std::string::npos);
}

TEST_F(ReportTimelineTest, FurtherApplicationsShareTheLastLane) {
  Lane* const shop = add_lane("shop", {});
  EXPECT_EQ(timeline_->find_lane("shop"), shop);
  EXPECT_EQ(timeline_->find_lane("unknown"), nullptr);
  Lane* const others = add_lane(nullptr, {});
  others->applications = 5;
  EXPECT_EQ(timeline_->find_lane("shop"), shop);
  EXPECT_EQ(timeline_->find_lane("unknown"), others);
  EXPECT_NE(page().find("5 other applications"), std::string::npos);
}

TEST_F(ReportTimelineTest, NamesAreEscaped) {
  add_lane("<b>&", {bar_of(kSince, kUpto)});
  add_lane("", {bar_of(kSince, kUpto)});
  const std::string shown = page();
  EXPECT_EQ(shown.find("<b>"), std::string::npos);
  EXPECT_NE(shown.find("&lt;b&gt;&amp;<span"), std::string::npos);
  EXPECT_NE(shown.find("(no application_name)<span"), std::string::npos);
}

TEST_F(ReportTimelineTest, EachTickHasALineInEachLane) {
  add_lane("a", {bar_of(kSince, kUpto)});
  add_lane("b", {bar_of(kSince, kUpto)});
  const std::string shown = page();
  EXPECT_EQ(occurrences(shown, "<line class=\"grid\""), 2 * 8);
  EXPECT_EQ(occurrences(shown, "<span style=\"left:"), 7);  // the one at the end would stick out
}

// Rows that no recorder writes: an end before the beginning, times far away.
TEST_F(ReportTimelineTest, ImpossibleTimesStayInsideOfTheDrawing) {
  std::vector<Bar> bars;
  for (const WallTime began : {kSince - 1000 * kDay, kSince, kUpto, kUpto + 1000 * kDay})
    for (const WallTime finished : {kSince - 1000 * kDay, kSince, kUpto, kUpto + 1000 * kDay})
      bars.push_back(bar_of(began, finished));
  add_lane("bars", bars);
  std::vector<Bar> many;
  for (int i = 0; i < 20; i++) many.insert(many.end(), bars.begin(), bars.end());
  add_lane("columns", many);
  for (const Rectangle& found : rectangles(page())) {
    EXPECT_GE(found.x, 0);
    EXPECT_LE(found.x + found.width, 1000.01);
    EXPECT_GT(found.width, 0);
    EXPECT_GE(found.y, 2);
  }
}

TEST(ReportBarKindTest, OutcomesHaveTheirKind) {
  EXPECT_EQ(bar_kind_of(nullptr), BarKind::kOpen);
  EXPECT_EQ(bar_kind_of("server stopped"), BarKind::kServerStopped);
  EXPECT_EQ(bar_kind_of("released"), BarKind::kReleased);
  EXPECT_EQ(bar_kind_of("<b>"), BarKind::kOther);
  for (int i = 0; i < kBarKindCount; i++)
    EXPECT_EQ(bar_kind_of(to_string(static_cast<BarKind>(i))), static_cast<BarKind>(i));
}

TEST(ReportLegendTest, ItExplainsEachOutcome) {
  const std::string legend = written([](HtmlWriter* html) { write_legend(html); });
  for (int i = 0; i < static_cast<int>(BarKind::kOther); i++)
    EXPECT_NE(legend.find(std::string(">") + to_string(static_cast<BarKind>(i)) + "<"), std::string::npos);
  EXPECT_NE(legend.find("others waited for it"), std::string::npos);
}

}  // namespace
}  // namespace pgleak
