// The page of the report: complete and well-formed whatever it shows, with nothing in it that a session could
// have brought along as markup, and small enough for a mail.
#include "core/report_page.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "report_samples.hpp"

namespace pgleak {
namespace {

constexpr char kEvil[] = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&";
constexpr Micros kDay = 86400 * kSecond;

class ReportPageTest : public testing::Test {
 protected:
  ReportPageTest() : page_(std::make_unique<ReportPage>()) {
    page_->style = "b { color: red }";
    page_->cluster_name = "";
    page_->server_version = "15.4 (Debian 15.4-1)";
    page_->time_zone = "Etc/UTC";
    page_->totals.longest_idle = Micros{kNoNumber};
    page_->timeline.period = ReportPeriod{at(2026, 1, 30), at(2026, 1, 31)};
  }

  std::string shown() {
    return written([this](HtmlWriter* html) { write_report(html, page_.get()); });
  }

  void add_offender(const char* text) {
    page_->offenders.rows[page_->offenders.count++] =
        OffenderRow{text, text, text, text, text, text, 3, 90 * kSecond, 2, 5 * kSecond, at(2026, 1, 30, 12)};
  }

  void add_pool(PoolName::Scope scope, const char* text) {
    page_->pools.now.rows[page_->pools.now.count++] =
        PoolRow{PoolName{scope, text, text, text, text}, 15, 80, 3, 7, 20, text, text};
  }

  void add_course(const char* text) {
    if (page_->courses.count == kMostCourses) return;
    Course& course = page_->courses.courses[page_->courses.count++];
    course = Course{7, 4711, text, text, text, text, 0, {}};
    course.steps[course.step_count++] =
        Step{StepKind::kStatement, at(2026, 1, 30, 12), kSecond, Micros{0}, 3, text};
    course.steps[course.step_count++] =
        Step{StepKind::kIdle, at(2026, 1, 30, 12) + kSecond, 60 * kSecond, 60 * kSecond, 1, nullptr};
  }

  void add_action(const char* text) {
    page_->actions.rows[page_->actions.count++] =
        ActionRow{at(2026, 1, 30, 12), text, text, text, text, 4711, text};
    page_->action_counts.rows[page_->action_counts.count++] = ActionCountRow{text, 12};
  }

  // Twelve lanes, each with `episodes` episodes of all kinds, one after the other and long.
  void fill_lanes(int episodes, const char* text) {
    Timeline& timeline = page_->timeline;
    for (int i = 0; i < kMostLanes; i++) {
      Lane& lane = timeline.lanes[timeline.lane_count++];
      lane.application = text;
      lane.applications = 1;
      lane.episodes = episodes;
      for (int j = 0; j < episodes; j++) {
        Bar bar{};
        bar.kind = static_cast<BarKind>(j % kBarKindCount);
        bar.began = timeline.period.since + j * kDay / (episodes + 1);
        bar.finished = bar.began + (episodes > kMostBars ? kDay / 8 : kDay / 100);
        bar.detected_at = bar.began;
        bar.role = bar.database = bar.route = text;
        bar.blocked = 7;
        bar.blocked_for = kDay / 200;
        lane.add(timeline.period, bar);
      }
    }
  }

  // Eight pools that change in each span.
  void fill_pools(const char* text) {
    PoolsSection& pools = page_->pools;
    const ReportPeriod& period = page_->timeline.period;
    pools.in_trouble = pools.curve_count = kMostPoolCurves;
    for (int i = 0; i < kMostPoolCurves; i++)
      pools.names[i] = PoolName{PoolName::Scope::kPool, text, text, text, text};
    for (int minute = 0; minute < 1440; minute++) {
      pools.curves.begin_sample(period, period.since + minute * 60 * kSecond);
      const int step = minute / 6;
      const SampledVerdict verdict = step % 2 == 0 ? SampledVerdict::kUndersized : SampledVerdict::kLeaking;
      for (int i = 0; i < kMostPoolCurves; i++)
        pools.curves.add(period, i,
                         PoolPoint{100 + step % 3, 1 + step % 90, 1 + step % 70, 1 + step % 50, verdict});
    }
    pools.curves.finish(period);
  }

  std::unique_ptr<ReportPage> page_;
};

// Every tag that is opened is closed, in order.
void expect_well_formed(const std::string& page) {
  static const std::regex tag(R"(<(/?)([a-zA-Z0-9!]+)([^<>]*)>)");
  static const std::set<std::string> kVoid = {"!DOCTYPE", "meta", "link", "br"};
  std::vector<std::string> open;
  for (std::sregex_iterator i(page.begin(), page.end(), tag), end; i != end; ++i) {
    const std::string name = (*i)[2];
    const std::string rest = (*i)[3];
    if (kVoid.count(name) > 0 || (!rest.empty() && rest.back() == '/')) continue;
    if ((*i)[1] == "/") {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name);
      open.pop_back();
    } else {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty()) << open.back();
}

TEST_F(ReportPageTest, AnEmptyPeriodSaysSo) {
  const std::string page = shown();
  EXPECT_EQ(page.rfind("<!DOCTYPE html><html lang=\"en\">", 0), 0U);
  EXPECT_EQ(page.substr(page.size() - 14), "</body></html>");
  EXPECT_NE(page.find("<style>\nb { color: red }</style>"), std::string::npos);
  EXPECT_NE(page.find("No session leaked."), std::string::npos);
  EXPECT_NE(page.find("No session has been counted yet."), std::string::npos);
  EXPECT_NE(page.find("Nothing: pgleak only watched."), std::string::npos);
  EXPECT_NE(page.find("<b>0</b><span class=\"soft\">leaks in 0 applications</span>"), std::string::npos);
  EXPECT_EQ(page.find("<table>"), std::string::npos);
  expect_well_formed(page);
}

TEST_F(ReportPageTest, TheHeadSaysWhatAndWhen) {
  page_->cluster_name = "shop <production>";
  EXPECT_NE(
      shown().find(
          "2026-01-30 00:00:00&#160;UTC+00 to 2026-01-31 00:00:00&#160;UTC+00, shop &lt;production&gt;, "
          "PostgreSQL 15.4. Times are in Etc/UTC."),
      std::string::npos);
}

TEST_F(ReportPageTest, TilesCountInTheirNumber) {
  page_->totals = ReportTotals{1, 1, 1, 61 * kSecond, 7, 3600 * kSecond, 1};
  const std::string page = shown();
  EXPECT_NE(page.find("<b>1</b><span class=\"soft\">leak in 1 application</span>"), std::string::npos);
  EXPECT_NE(page.find("<b>1m 1s</b><span class=\"soft\">longest idle</span>"), std::string::npos);
  EXPECT_NE(page.find("<b>1h 0m</b><span class=\"soft\">others waited for leaks</span>"), std::string::npos);
  EXPECT_EQ(occurrences(page, "<div class=\"tile\">"), 6);
}

TEST_F(ReportPageTest, WhatIsUnknownIsADash) {
  page_->pools.now.rows[0] = PoolRow{PoolName{PoolName::Scope::kPool, "", "shop", "orders", nullptr},
                                     15,
                                     kNoNumber,
                                     0,
                                     kNoNumber,
                                     kNoNumber,
                                     nullptr,
                                     nullptr};
  page_->pools.now.count = 1;
  page_->offenders.rows[0] = OffenderRow{
      "", "shop", "orders", nullptr, nullptr, nullptr, 1, Micros{kNoNumber}, 0, Micros{0}, at(2026, 1, 30)};
  page_->offenders.count = 1;
  const std::string page = shown();
  EXPECT_NE(page.find("<td data-label=\"In use\" class=\"number\"><div>-</div></td>"), std::string::npos);
  EXPECT_NE(page.find("<td data-label=\"Waiting\" class=\"number\"><div>-</div></td>"), std::string::npos);
  EXPECT_NE(page.find("<td data-label=\"Capacity\" class=\"number\"><div>-</div></td>"), std::string::npos);
  EXPECT_NE(page.find("<span class=\"verdict \">-</span>"), std::string::npos);
  EXPECT_NE(page.find("<td data-label=\"Longest idle\" class=\"number\"><div>-</div></td>"),
            std::string::npos);
  EXPECT_NE(page.find("<td data-label=\"Others waited\" class=\"number\"><div>-</div></td>"),
            std::string::npos);
  EXPECT_EQ(occurrences(page, "(no application_name)<br><span class=\"soft\">shop@orders</span>"), 2);
  expect_well_formed(page);
}

TEST_F(ReportPageTest, TheSumOfPoolsHasAllAddresses) {
  add_pool(PoolName::Scope::kApplication, "shop");
  page_->pools.now.rows[0].name.client_address = nullptr;
  EXPECT_NE(shown().find(", all addresses</span>"), std::string::npos);
  page_->pools.now.rows[0].name.scope = PoolName::Scope::kPool;
  EXPECT_EQ(shown().find(", all addresses</span>"), std::string::npos);
}

TEST_F(ReportPageTest, OtherScopesHaveNoSession) {
  add_pool(PoolName::Scope::kServer, nullptr);
  add_pool(PoolName::Scope::kOther, nullptr);
  const std::string page = shown();
  EXPECT_NE(page.find("<b>the whole server</b></div>"), std::string::npos);
  EXPECT_NE(page.find("<div>all other pools</div>"), std::string::npos);
}

TEST_F(ReportPageTest, ActionsAreCountedAndListed) {
  add_action("cancel: done");
  add_action("terminate: dry run");
  const std::string page = shown();
  EXPECT_NE(page.find("<p>12 &times; cancel: done, 12 &times; terminate: dry run.</p>"), std::string::npos);
  EXPECT_NE(page.find(", pid 4711</span>"), std::string::npos);
}

// Every text of the page, at every place.
TEST_F(ReportPageTest, NothingOfASessionIsMarkup) {
  page_->cluster_name = page_->server_version = page_->time_zone = kEvil;
  for (int i = 0; i < kMostTableRows; i++) {
    add_offender(kEvil);
    add_pool(PoolName::Scope::kPool, kEvil);
    add_course(kEvil);
    add_action(kEvil);
  }
  fill_lanes(20, kEvil);
  fill_pools(kEvil);
  const std::string page = shown();
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_GT(occurrences(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&gt;&lt;img"), 500);
  expect_well_formed(page);
}

// The limits of the timeline and of the tables bound the page, however many episodes there are.
TEST_F(ReportPageTest, FullLanesMakeAPageOfLessThanTwoAndAHalfMegabytes) {
  const std::string text(60, 'x');
  for (int i = 0; i < kMostTableRows; i++) add_offender(text.c_str());
  fill_lanes(100000, text.c_str());
  fill_pools(text.c_str());
  const std::string page = shown();
  EXPECT_GT(occurrences(page, "<rect"), kMostLanes * kTimelineSpans * (kBarKindCount - 1));
  EXPECT_LT(page.size(), 2500000U);
  expect_well_formed(page);
}

TEST_F(ReportPageTest, FullLanesOfBarsMakeAPageOfLessThanTwoAndAHalfMegabytes) {
  const std::string text(60, 'x');
  fill_lanes(kMostBars, text.c_str());
  fill_pools(text.c_str());
  const std::string page = shown();
  EXPECT_GE(occurrences(page, "<title>leak "), kMostLanes * kMostBars);
  EXPECT_LT(page.size(), 2500000U);
  expect_well_formed(page);
}

}  // namespace
}  // namespace pgleak
