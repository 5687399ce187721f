// The section about pools in trouble: charts, marks, and the same as a table.
#include "core/report_pools.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "report_samples.hpp"

namespace pgleak {
namespace {

constexpr Micros kMinute = 60 * kSecond;
const WallTime kUpto = at(2026, 1, 31);
const WallTime kSince = kUpto - kCurveSpans * kMinute;  // a span for each minute
constexpr PoolPoint kLeaks{10, 8, 5, 2, SampledVerdict::kLeaking};
constexpr PoolPoint kWaits{10, 8, 0, 8, SampledVerdict::kBlocked};
constexpr PoolPoint kIsFine{10, 3, 0, 0, SampledVerdict::kOk};

class ReportPoolsTest : public testing::Test {
 protected:
  ReportPoolsTest() : section_(std::make_unique<PoolsSection>()) {}

  void name(const char* application) {
    section_->names[section_->curve_count++] =
        PoolName{PoolName::Scope::kPool, application, "app", "orders", nullptr};
    section_->in_trouble++;
  }

  void sample(int minute) { section_->curves.begin_sample(period_, kSince + minute * kMinute); }

  void add(int minute, const PoolPoint& point, int curve = 0) {
    sample(minute);
    section_->curves.add(period_, curve, point);
  }

  std::string page() {
    section_->curves.finish(period_);
    return written([this](HtmlWriter* html) { write_pools(html, period_, *section_); });
  }

  ReportPeriod period_{kSince, kUpto};
  std::unique_ptr<PoolsSection> section_;
};

TEST_F(ReportPoolsTest, WithoutSamplesItSaysSo) {
  const std::string shown = page();
  EXPECT_NE(shown.find("<h2>Pools in trouble</h2><p class=\"soft\">No sample was taken in this period.</p>"),
            std::string::npos);
  EXPECT_EQ(shown.find("<svg"), std::string::npos);
}

TEST_F(ReportPoolsTest, WithoutTroubleItSaysSo) {
  sample(10);
  EXPECT_NE(page().find("<p class=\"soft\">Every pool was fine whenever a sample was taken.</p>"),
            std::string::npos);
}

// 240 spans are 1,000 units wide, 10 connections 80 units high.
TEST_F(ReportPoolsTest, LinesAreSteps) {
  name("shop");
  for (int minute = 0; minute < 60; minute++) sample(minute);
  for (int minute = 60; minute < 120; minute++) add(minute, kLeaks);
  for (int minute = 120; minute < 180; minute++) add(minute, kWaits);
  add(180, kIsFine);
  for (int minute = 181; minute < 240; minute++) sample(minute);
  const std::string shown = page();
  EXPECT_NE(shown.find("<path class=\"size\" d=\"M250 2V2H754.1\"/>"), std::string::npos) << shown;
  EXPECT_NE(shown.find("<path class=\"in-use\" d=\"M250 18V18H750V58H754.1\"/>"), std::string::npos);
  EXPECT_NE(shown.find("<path class=\"leaked\" d=\"M250 42V42H500V82\"/>"), std::string::npos);
  EXPECT_NE(shown.find("<path class=\"waiting\" d=\"M250 66V66H500V18H750V82\"/>"), std::string::npos);
  EXPECT_EQ(occurrences(shown, "<rect class=\"gap\" x="), 0);
}

TEST_F(ReportPoolsTest, WhatIsNotKnownIsNotDrawn) {
  name("shop");
  add(0, PoolPoint{10, 8, 5, kNotKnown, SampledVerdict::kLeaking});
  add(1, PoolPoint{kNotKnown, kNotKnown, kNotKnown, kNotKnown, SampledVerdict::kNone});
  const std::string shown = page();
  EXPECT_NE(shown.find("<path class=\"waiting\" d=\"\"/>"), std::string::npos);
  EXPECT_NE(shown.find("<path class=\"in-use\" d=\"M0 18V18H4.1\"/>"), std::string::npos) << shown;
  EXPECT_NE(shown.find(" no verdict</title>"), std::string::npos);
}

TEST_F(ReportPoolsTest, GapsAreShaded) {
  name("shop");
  add(60, kLeaks);
  add(120, kLeaks);
  const std::string shown = page();
  EXPECT_NE(shown.find("<g><title>no sample was taken</title><rect class=\"gap\" x=\"254.1\" y=\"0\" "
                       "width=\"245.9\" height=\"89\"/></g>"),
            std::string::npos)
      << shown;
  EXPECT_EQ(occurrences(shown, "<rect class=\"gap\" x="), 3);
}

TEST_F(ReportPoolsTest, ChangesAreMarkedAndListed) {
  name("shop");
  sample(59);
  add(60, kLeaks);
  add(61, kIsFine);
  const std::string shown = page();
  EXPECT_NE(shown.find("UTC+00: leaking, before: ok</title><line class=\"mark leaking\" x1=\"250\" "
                       "x2=\"250\" y1=\"0\" y2=\"89\"/>"),
            std::string::npos)
      << shown;
  EXPECT_NE(shown.find("<span class=\"verdict leaking\" style=\"left:25%\">leaking 21:00</span>"),
            std::string::npos);
  EXPECT_NE(shown.find("<h3>When verdicts changed</h3>"), std::string::npos);
  EXPECT_NE(shown.find("<td data-label=\"When\" class=\"time\"><div>2026-01-30 21:00:00</div></td>"),
            std::string::npos);
  EXPECT_NE(shown.find("<td data-label=\"Verdict\"><div><span class=\"verdict leaking\">leaking</span></div>"
                       "</td><td data-label=\"Before\"><div>ok</div></td>"),
            std::string::npos);
  EXPECT_NE(shown.find("<td data-label=\"Before\"><div>leaking</div></td>"), std::string::npos);
}

// A minute later there is no room for another label. At the right end it stays within the chart.
TEST_F(ReportPoolsTest, LabelsDoNotOverlap) {
  name("shop");
  sample(59);
  add(60, kLeaks);
  add(61, kIsFine);
  for (int minute = 62; minute < 239; minute++) sample(minute);
  add(239, kWaits);
  const std::string shown = page();
  EXPECT_EQ(occurrences(shown, "<span class=\"verdict ok\" style="), 0);
  EXPECT_EQ(occurrences(shown, "<line class=\"mark "), 3);
  EXPECT_NE(shown.find("style=\"left:87.5%\">blocked 23:59</span>"), std::string::npos) << shown;
}

TEST_F(ReportPoolsTest, LabelsOfALongPeriodHaveTheDate) {
  period_.since = kUpto - 7 * 24 * 60 * kMinute;
  name("shop");
  section_->curves.begin_sample(period_, kUpto - 24 * 60 * kMinute);
  section_->curves.add(period_, 0, kLeaks);
  EXPECT_NE(page().find(">leaking Jan 30 00:00</span>"), std::string::npos);
}

TEST_F(ReportPoolsTest, ChangesOfAllPoolsAreInTheOrderOfTime) {
  name("first");
  name("second");
  sample(9);
  add(10, kWaits, 1);
  add(11, kLeaks, 0);
  add(11, kWaits, 1);
  const std::string shown = page();
  const std::size_t table = shown.find("<h3>");
  ASSERT_NE(table, std::string::npos);
  EXPECT_LT(shown.find("second", table), shown.find("first", table));
}

TEST_F(ReportPoolsTest, AfterAGapItSaysSo) {
  name("shop");
  add(60, kLeaks);
  const std::string shown = page();
  EXPECT_NE(shown.find("leaking, before: no sample</title>"), std::string::npos);
  EXPECT_NE(shown.find("<td data-label=\"Before\"><div>no sample</div></td>"), std::string::npos);
}

TEST_F(ReportPoolsTest, AClosedPoolIsClosed) {
  name("shop");
  add(60, kLeaks);
  add(61, PoolPoint{0, 0, 0, 0, SampledVerdict::kNone});
  EXPECT_NE(page().find("<span class=\"verdict no verdict\">closed</span>"), std::string::npos);
}

TEST_F(ReportPoolsTest, WhatIsLeftOutIsCounted) {
  name("shop");
  section_->in_trouble = 1234;
  sample(0);
  for (int i = 1; i <= 21; i++) add(i, i % 2 == 1 ? kWaits : kIsFine);
  const std::string shown = page();
  EXPECT_NE(shown.find("These are the worst 1 of 1,234 pools that were in trouble."), std::string::npos);
  EXPECT_NE(shown.find("13 changes are left out"), std::string::npos);
}

TEST_F(ReportPoolsTest, NamesAreText) {
  section_->names[section_->curve_count++] =
      PoolName{PoolName::Scope::kPool, "<script>", "\"><img", "<b>", "<i>"};
  add(60, kLeaks);
  const std::string shown = page();
  EXPECT_EQ(shown.find("<script"), std::string::npos);
  EXPECT_EQ(shown.find("<img"), std::string::npos);
  EXPECT_GE(occurrences(shown, "&lt;script&gt;"), 2);
}

// Every span is another step, and every name is long.
TEST_F(ReportPoolsTest, TheWorstCaseIsBounded) {
  const std::string text(60, 'x');
  for (int i = 0; i < kMostPoolCurves; i++) name(text.c_str());
  for (int minute = 0; minute < kCurveSpans; minute++)
    for (int i = 0; i < kMostPoolCurves; i++)
      add(minute,
          PoolPoint{100 + minute % 3, minute % 90, minute % 70, minute % 50,
                    minute % 2 == 0 ? SampledVerdict::kUndersized : SampledVerdict::kLeaking},
          i);
  EXPECT_LT(page().size(), 600000U);
}

}  // namespace
}  // namespace pgleak
