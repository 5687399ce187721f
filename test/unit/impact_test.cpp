// Tests of core/impact: what a session holds, graded and measured, and the worst of it.
#include "core/impact.hpp"

#include <gtest/gtest.h>

#include <type_traits>

#include "samples.hpp"

namespace pgleak {
namespace {

static_assert(std::is_trivially_copyable<ImpactSample>::value,
              "lives in shared memory and in the event queue");

constexpr WallTime kNow = wall_at(1000 * kSecond);
constexpr std::optional<Micros> kUnknownAge;
constexpr std::optional<Micros> kNoTime;

HeldResources holding(std::uint32_t xid, std::uint32_t xmin, std::int32_t locks, std::int32_t blocked) {
  return HeldResources{xid, xmin, locks, blocked, WallTime::none(), 1000, false, 0, false};
}

ImpactSample measure_xids(std::uint32_t xid, std::uint32_t xmin, std::uint32_t next_xid) {
  return measure(HeldResources{xid, xmin, 0, 0, WallTime::none(), next_xid, false, 0, false}, kNow,
                 kUnknownAge);
}

std::optional<Micros> blocked_for(std::int32_t blocked, WallTime since,
                                  std::optional<Micros> transaction_age) {
  return measure(HeldResources{0, 0, 1, blocked, since, 1000, false, 0, false}, kNow, transaction_age)
      .blocked_for;
}

TEST(GradeTest, FollowsTheWorstThatASessionHolds) {
  EXPECT_EQ(grade(holding(0, 0, 0, 0)), Impact::kNone);
  EXPECT_EQ(grade(holding(0, 0, 3, 0)), Impact::kLocks);
  EXPECT_EQ(grade(holding(0, 700, 3, 0)), Impact::kHorizon);
  EXPECT_EQ(grade(holding(700, 0, 0, 0)), Impact::kHorizon);
  EXPECT_EQ(grade(holding(0, 0, 1, 1)), Impact::kBlocking);
  EXPECT_EQ(grade(holding(700, 700, 9, 4)), Impact::kBlocking);
}

TEST(GradeTest, WhoListensHoldsTheTailOfTheNotificationQueue) {
  HeldResources held{0, 0, 0, 0, WallTime::none(), 1000, false, 0, true};
  EXPECT_EQ(grade(held), Impact::kHorizon);
  held.blocked = 1;
  EXPECT_EQ(grade(held), Impact::kBlocking);
}

TEST(GradeTest, IsOrdered) {
  EXPECT_LT(Impact::kNone, Impact::kLocks);
  EXPECT_LT(Impact::kLocks, Impact::kHorizon);
  EXPECT_LT(Impact::kHorizon, Impact::kBlocking);
}

TEST(ImpactNameTest, AreThoseOfTheViewsAndTheSetting) {
  EXPECT_STREQ(to_string(Impact::kNone), "none");
  EXPECT_STREQ(to_string(Impact::kLocks), "locks");
  EXPECT_STREQ(to_string(Impact::kHorizon), "horizon");
  EXPECT_STREQ(to_string(Impact::kBlocking), "blocking");
}

TEST(MeasureTest, SaysWhatIsHeldAndItsGrade) {
  const ImpactSample impact_now = measure(holding(700, 690, 3, 0), kNow, kSecond);
  EXPECT_EQ(impact_now.xid, 700U);
  EXPECT_EQ(impact_now.xmin, 690U);
  EXPECT_EQ(impact_now.locks, 3);
  EXPECT_EQ(impact_now.blocked, 0);
  EXPECT_EQ(impact_now.impact, Impact::kHorizon);
}

TEST(MeasureTest, TheHorizonIsAsFarBackAsTheOlderOfXidAndSnapshot) {
  EXPECT_EQ(measure_xids(0, 0, 1000).xmin_age, -1);
  EXPECT_EQ(measure_xids(900, 0, 1000).xmin_age, 100);
  EXPECT_EQ(measure_xids(0, 950, 1000).xmin_age, 50);
  EXPECT_EQ(measure_xids(900, 950, 1000).xmin_age, 100);
  EXPECT_EQ(measure_xids(950, 900, 1000).xmin_age, 100);
  EXPECT_EQ(measure_xids(0, 1000, 1000).xmin_age, 0) << "a snapshot taken just now";
}

TEST(MeasureTest, TransactionIdsGoRound) {
  EXPECT_EQ(measure_xids(4294967290U, 0, 10).xmin_age, 16);
  EXPECT_EQ(measure_xids(0, 2147483660U, 10).xmin_age, 2147483646);
  EXPECT_EQ(measure_xids(0, 11, 10).xmin_age, 0) << "given out after the next one was read";
}

TEST(MeasureTest, NobodyBlockedHasNoTime) {
  EXPECT_EQ(blocked_for(0, WallTime::none(), kUnknownAge), kNoTime);
  EXPECT_EQ(blocked_for(0, kNow - kSecond, kUnknownAge), kNoTime);
}

TEST(MeasureTest, TheLongestWaitIsCountedFromItsBeginning) {
  EXPECT_EQ(blocked_for(2, kNow - 3 * kSecond, kUnknownAge), 3 * kSecond);
  EXPECT_EQ(blocked_for(2, kNow - 3 * kSecond, 60 * kSecond), 3 * kSecond);
  EXPECT_EQ(blocked_for(2, WallTime::none(), 60 * kSecond), 0_us) << "so new that it has not written it down";
}

TEST(MeasureTest, AWallClockThatWasSetMakesNoLongWaits) {
  EXPECT_EQ(blocked_for(1, kNow + kSecond, 60 * kSecond), 0_us);
  EXPECT_EQ(blocked_for(1, kNow - 900 * kSecond, 60 * kSecond), 60 * kSecond);
}

TEST(WorstOfTest, KeepsThePeakOfEachColumn) {
  const ImpactSample many{0, 0, -1, 5, 7, 2 * kSecond, Impact::kBlocking};
  const ImpactSample old{700, 650, 90, 2, 1, 9 * kSecond, Impact::kBlocking};
  for (const ImpactSample& worst : {worst_of(many, old), worst_of(old, many)}) {
    EXPECT_EQ(worst.xmin_age, 90);
    EXPECT_EQ(worst.locks, 5);
    EXPECT_EQ(worst.blocked, 7);
    EXPECT_EQ(worst.blocked_for, 9 * kSecond);
    EXPECT_EQ(worst.impact, Impact::kBlocking);
  }
}

TEST(WorstOfTest, RemembersWhatWasHeldLast) {
  ImpactSample worst = worst_of(kNoImpact, measure_xids(0, 600, 700));
  worst = worst_of(worst, measure_xids(690, 680, 700));
  worst = worst_of(worst, kNoImpact);  // rolled back in place
  EXPECT_EQ(worst.xid, 690U);
  EXPECT_EQ(worst.xmin, 680U);
  EXPECT_EQ(worst.xmin_age, 100);
  EXPECT_EQ(worst.impact, Impact::kHorizon);
}

}  // namespace
}  // namespace pgleak
