// The axis of the report: ticks at round local times, few enough to be read, also where the clocks are
// changed.
#include "core/report_axis.hpp"

#include <gtest/gtest.h>

#include <string>

#include "report_samples.hpp"

namespace pgleak {
namespace {

std::string labels(WallTime since, WallTime upto, ToLocalTime zone = utc) {
  Tick ticks[kMostTicks];
  const int count = find_ticks(ReportPeriod{since, upto}, zone, ticks);
  std::string all;
  for (int i = 0; i < count; i++) all += (i > 0 ? ", " : "") + std::string(ticks[i].label);
  return all;
}

TEST(ReportAxisTest, ADayHasThreeHourTicksAndItsMidnight) {
  EXPECT_EQ(labels(at(2026, 1, 30, 14, 7), at(2026, 1, 31, 14, 7)),
            "15:00, 18:00, 21:00, Jan 31, 03:00, 06:00, 09:00, 12:00");
}

TEST(ReportAxisTest, TicksKeepToTheLocalClock) {
  EXPECT_EQ(labels(at(2026, 1, 30, 14, 7), at(2026, 1, 31, 14, 7), kolkata),
            "21:00, Jan 31, 03:00, 06:00, 09:00, 12:00, 15:00, 18:00");
}

TEST(ReportAxisTest, StepsFollowThePeriod) {
  EXPECT_EQ(labels(at(2026, 1, 1, 12, 0, 0), at(2026, 1, 1, 12, 0, 4)),
            "12:00:01, 12:00:02, 12:00:03, 12:00:04");
  EXPECT_EQ(labels(at(2026, 1, 1, 12, 0, 30), at(2026, 1, 1, 12, 30, 30)),
            "12:05, 12:10, 12:15, 12:20, 12:25, 12:30");
  EXPECT_EQ(labels(at(2026, 1, 1, 12, 30), at(2026, 1, 8, 12, 30)),
            "Jan 02, Jan 03, Jan 04, Jan 05, Jan 06, Jan 07, Jan 08");
  EXPECT_EQ(labels(at(2026, 1, 1, 12), at(2026, 1, 31, 12)), "Jan 08, Jan 15, Jan 22, Jan 29");
  EXPECT_EQ(labels(at(2025, 1, 1, 12), at(2026, 1, 1, 12)), "Apr 2025, Jul 2025, Oct 2025, Dec 2025");
}

TEST(ReportAxisTest, TenYearsHaveTicks) {
  Tick ticks[kMostTicks];
  const int count = find_ticks(ReportPeriod{at(2016, 5, 1), at(2026, 5, 1)}, utc, ticks);
  EXPECT_GE(count, 7);
  EXPECT_LE(count, 9);
}

TEST(ReportAxisTest, AMicrosecondHasNone) {
  EXPECT_EQ(labels(at(2026, 1, 1, 12), at(2026, 1, 1, 12) + Micros{1}), "");
}

// 23 and 25 hours: the ticks stay at whole three hours of the clock on the wall.
TEST(ReportAxisTest, TicksStayAtRoundTimesWhenClocksChange) {
  EXPECT_EQ(labels(at(2026, 3, 28, 20, 30), at(2026, 3, 29, 19, 30), berlin),
            "Mar 29, 03:00, 06:00, 09:00, 12:00, 15:00, 18:00, 21:00");
  EXPECT_EQ(labels(at(2026, 10, 24, 20, 30), at(2026, 10, 25, 20, 30), berlin),
            "Oct 25, 03:00, 06:00, 09:00, 12:00, 15:00, 18:00, 21:00");
  EXPECT_EQ(labels(at(2026, 10, 22, 20, 30), at(2026, 10, 28, 20, 30), berlin),
            "Oct 23, Oct 24, Oct 25, Oct 26, Oct 27, Oct 28");
}

// Whatever the period: in order, inside of it, few.
TEST(ReportAxisTest, TicksAreInOrderAndFew) {
  for (const ToLocalTime zone :
       {ToLocalTime{utc}, ToLocalTime{kolkata}, ToLocalTime{newfoundland}, ToLocalTime{berlin}})
    for (Micros length{1}; length < 3650LL * 86400 * kSecond; length = length * 3 / 2 + Micros{1})
      for (WallTime upto = at(2026, 3, 28); upto < at(2026, 3, 30); upto += 7919 * kSecond) {
        const ReportPeriod period{upto - length, upto};
        Tick ticks[kMostTicks];
        const int count = find_ticks(period, zone, ticks);
        ASSERT_LE(count, 9);
        for (int i = 0; i < count; i++) {
          ASSERT_GT(ticks[i].at, i == 0 ? period.since : ticks[i - 1].at);
          ASSERT_LE(ticks[i].at, period.upto);
        }
      }
}

TEST(ReportAxisTest, PositionsStayInside) {
  const ReportPeriod period{at(2026, 1, 1), at(2026, 1, 2)};
  EXPECT_EQ(period.position(at(1999, 1, 1), 1000), 0);
  EXPECT_EQ(period.position(period.since, 1000), 0);
  EXPECT_EQ(period.position(at(2026, 1, 1, 12), 1000), 500);
  EXPECT_EQ(period.position(period.upto, 1000), 1000);
  EXPECT_EQ(period.position(at(2037, 1, 1), 1000), 1000);  // i386 has no time_t for later years
}

}  // namespace
}  // namespace pgleak
