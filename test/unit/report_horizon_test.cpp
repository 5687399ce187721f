// The curve of the report: steps at their time and height, gaps where no sample was taken, and the difference
// between a gap and a moment in which nobody held VACUUM back.
#include "core/report_horizon.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "report_samples.hpp"

namespace pgleak {
namespace {

constexpr Micros kMinute = 60 * kSecond;
const WallTime kUpto = at(2026, 1, 31);
const WallTime kSince = kUpto - kCurveSpans * kMinute;  // a span for each minute

class ReportHorizonTest : public testing::Test {
 protected:
  ReportHorizonTest() : section_(std::make_unique<HorizonSection>()) {}

  // A sample in the middle of a minute is late, as real ones are.
  void add(double minute, std::int64_t age) {
    section_->curve.add(period_, kSince + Micros{static_cast<std::int64_t>(minute * 60e6)}, age);
  }

  std::string page() {
    section_->curve.finish(period_);
    return written([this](HtmlWriter* html) { write_horizon(html, period_, *section_); });
  }

  std::int64_t age_in(int span) const { return section_->curve.age_in(span); }

  const ReportPeriod period_{kSince, kUpto};
  std::unique_ptr<HorizonSection> section_;
};

TEST_F(ReportHorizonTest, WithoutSamplesThereIsNoCurve) {
  const std::string shown = page();
  EXPECT_NE(shown.find("<h2>What holds VACUUM back</h2>"), std::string::npos);
  EXPECT_NE(shown.find("No sample was taken in this period."), std::string::npos);
  EXPECT_NE(shown.find("nobody holds VACUUM back or keeps WAL"), std::string::npos);
  EXPECT_EQ(shown.find("<svg"), std::string::npos);
}

TEST_F(ReportHorizonTest, ASampleStandsUntilTheNext) {
  add(10, 100);
  add(11.5, 50);
  page();
  EXPECT_EQ(age_in(9), kNoNumber);
  EXPECT_EQ(age_in(10), 100);
  EXPECT_EQ(age_in(11), 100);
  EXPECT_EQ(age_in(12), 50);
  EXPECT_EQ(age_in(13), kNoNumber);
}

TEST_F(ReportHorizonTest, WithoutSamplesThereIsAGap) {
  add(10, 100);
  add(20, 100);
  const std::string shown = page();
  EXPECT_EQ(age_in(10), 100);
  for (int span = 11; span < 20; span++) EXPECT_EQ(age_in(span), kNoNumber) << span;
  EXPECT_EQ(age_in(20), 100);
  EXPECT_EQ(occurrences(shown, "<rect class=\"horizon\""), 2);
}

TEST_F(ReportHorizonTest, NobodyIsNoGap) {
  add(10, 0);
  const std::string shown = page();
  EXPECT_EQ(age_in(10), 0);
  EXPECT_NE(shown.find("nobody held VACUUM back</title><rect class=\"horizon\""), std::string::npos) << shown;
  EXPECT_NE(shown.find("<p>Nobody held VACUUM back when the samples were taken.</p>"), std::string::npos);
}

TEST_F(ReportHorizonTest, EqualAgesAreOneStep) {
  for (int minute = 0; minute < kCurveSpans; minute++) add(minute, minute < 60 ? 10 : 20);
  const std::string shown = page();
  EXPECT_EQ(occurrences(shown, "<rect class=\"horizon\""), 2);
  EXPECT_NE(shown.find(": 10 transactions</title><rect class=\"horizon\" x=\"0\" y=\"47\" width=\"250\" "
                       "height=\"45\"/>"),
            std::string::npos)
      << shown;
  EXPECT_NE(shown.find(": 20 transactions</title><rect class=\"horizon\" x=\"250\" y=\"2\" width=\"750\" "
                       "height=\"90\"/>"),
            std::string::npos)
      << shown;
}

TEST_F(ReportHorizonTest, ASpanShowsItsHighestAge) {
  add(10, 5);
  add(10.3, 500);
  add(10.6, 7);
  page();
  EXPECT_EQ(age_in(10), 500);
  EXPECT_EQ(section_->curve.peak(), 500);
}

// Rows that no recorder writes, or clocks that were set.
TEST_F(ReportHorizonTest, OddSamplesAreLeftOut) {
  add(-1000, 1);
  add(100, 2);
  add(50, 900);
  add(100, 900);
  add(1000, 900);
  section_->curve.add(period_, kEndOfTime - kMinute * 10, 900);
  add(101, -7);
  page();
  EXPECT_EQ(section_->curve.samples(), 2);
  EXPECT_EQ(section_->curve.peak(), 2);
  EXPECT_EQ(age_in(100), 2);
  EXPECT_EQ(age_in(101), 0);
  EXPECT_EQ(age_in(50), kNoNumber);
}

TEST_F(ReportHorizonTest, ASampleBeforeThePeriodReachesIntoIt) {
  add(-0.5, 3);
  page();
  EXPECT_EQ(age_in(0), 3);
  EXPECT_EQ(age_in(1), kNoNumber);
}

TEST_F(ReportHorizonTest, TheWorstMomentSaysWho) {
  add(10, 12345);
  section_->worst = WorstMoment{kSince + 10 * kMinute, 12345, 3700 * kSecond, "session", "pid 7, <b>, a@b"};
  EXPECT_NE(page().find("UTC+00, VACUUM had to keep the dead rows of <b>12,345 transactions</b>: session "
                        "<b>pid 7, &lt;b&gt;, a@b</b>, for 1h 1m.</p>"),
            std::string::npos);
}

TEST_F(ReportHorizonTest, LeaksSayWhatTheyHeld) {
  EXPECT_EQ(page().find("Leaks of this period"), std::string::npos);
  section_->leaks.rows[section_->leaks.count++] =
      OldLeakRow{kSince,  "<shop>",       "app", "orders",          4711,
                 nullptr, 3700 * kSecond, 12345, 300 * 1024 * 1024, "subscriber"};
  section_->leaks.rows[section_->leaks.count++] =
      OldLeakRow{kSince,      "gid-1",           "app",     "orders",  kNoNumber,
                 "committed", Micros{kNoNumber}, kNoNumber, kNoNumber, nullptr};
  const std::string shown = page();
  EXPECT_NE(shown.find("<b>&lt;shop&gt;</b><br><span class=\"soft\">app@orders, pid 4711</span>"),
            std::string::npos);
  EXPECT_NE(shown.find("<div>1h 1m</div>"), std::string::npos);
  EXPECT_NE(shown.find("<div>12,345</div>"), std::string::npos);
  EXPECT_NE(shown.find("300 MB<br><span class=\"soft\">slot subscriber</span>"), std::string::npos);
  EXPECT_NE(shown.find("<div>open</div>"), std::string::npos);
  EXPECT_NE(shown.find("<b>gid-1</b><br><span class=\"soft\">app@orders</span>"), std::string::npos);
  EXPECT_NE(shown.find("<div>committed</div>"), std::string::npos);
}

TEST_F(ReportHorizonTest, HoldersHaveTheirRemedy) {
  section_->holders.rows[section_->holders.count++] = HolderRow{"session",
                                                                "<shop>",
                                                                4711,
                                                                "app",
                                                                "orders",
                                                                "tables, catalogs",
                                                                1000,
                                                                90 * kSecond,
                                                                kNoNumber,
                                                                true,
                                                                "SELECT pgleak.cancel(4711)"};
  section_->holders.rows[section_->holders.count++] =
      HolderRow{"replication slot", "s",   kNoNumber, nullptr, nullptr, "WAL", kNoNumber, Micros{kNoNumber},
                64 * 1024 * 1024,   false, nullptr};
  const std::string shown = page();
  EXPECT_NE(
      shown.find(
          "session <b>&lt;shop&gt;</b><br><span class=\"soft\">app@orders, pid 4711, the oldest</span>"),
      std::string::npos)
      << shown;
  EXPECT_NE(shown.find("<code>SELECT pgleak.cancel(4711)</code>"), std::string::npos);
  EXPECT_NE(shown.find("replication slot <b>s</b><br><span class=\"soft\">every database</span>"),
            std::string::npos);
  EXPECT_NE(shown.find("<div>64 MB</div>"), std::string::npos);
}

}  // namespace
}  // namespace pgleak
