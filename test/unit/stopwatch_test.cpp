// Tests of Stopwatch in core/session: ages of things that the server dates by the wall clock stay right
// whatever happens to the wall clock.
#include "core/session.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr MonotonicTime kNoEarlierLook = MonotonicTime::none();

class StopwatchTest : public testing::Test {
 protected:
  Micros look(WallTime started) {
    const Micros age = watch_.observe(started, time_.now(), previous_look_);
    previous_look_ = time_.monotonic();
    return age;
  }

  FakeTime time_;
  Stopwatch watch_{};
  MonotonicTime previous_look_ = kNoEarlierLook;
};

TEST_F(StopwatchTest, TheVeryFirstLookBelievesTheWallClock) {
  const WallTime started = time_.wall();
  time_.pass(3 * kHour);
  EXPECT_EQ(look(started), 3 * kHour);
}

TEST_F(StopwatchTest, TheVeryFirstLookIsNotBoundedByTheStartOfTheMonotonicClock) {
  // The monotonic clock may start at any point, so a session may be older than it.
  EXPECT_EQ(watch_.observe(wall_at(10 * kSecond), Now{wall_at(kHour + 10 * kSecond), monotonic_at(kMinute)},
                           kNoEarlierLook),
            kHour);
}

TEST_F(StopwatchTest, TheVeryFirstLookAtAThingOfTheFutureSaysZero) {
  EXPECT_EQ(look(time_.wall() + kHour), 0_us);
}

TEST_F(StopwatchTest, AThingThatJustBeganHasAgeZero) { EXPECT_EQ(look(time_.wall()), 0_us); }

TEST_F(StopwatchTest, LaterLooksAddTheTimeThatPassed) {
  const WallTime started = time_.wall();
  time_.pass(40 * kMillisecond);
  EXPECT_EQ(look(started), 40 * kMillisecond);
  time_.pass(1_us);
  EXPECT_EQ(look(started), 40 * kMillisecond + 1_us);
  time_.pass(2 * kHour);
  EXPECT_EQ(look(started), 40 * kMillisecond + 1_us + 2 * kHour);
}

TEST_F(StopwatchTest, LookingTwiceAtTheSameMomentSaysTheSameTwice) {
  const WallTime started = time_.wall();
  time_.pass(kSecond);
  EXPECT_EQ(look(started), kSecond);
  EXPECT_EQ(look(started), kSecond);
}

TEST_F(StopwatchTest, AThingSeenForTheFirstTimeIsNotOlderThanThePreviousLook) {
  previous_look_ = time_.monotonic();
  const WallTime claimed = time_.wall() - kHour;
  time_.pass(kSecond);
  EXPECT_EQ(look(claimed), kSecond);
}

TEST_F(StopwatchTest, AThingYoungerThanThePreviousLookKeepsItsAge) {
  previous_look_ = time_.monotonic();
  time_.pass(700 * kMillisecond);
  const WallTime started = time_.wall();
  time_.pass(300 * kMillisecond);
  EXPECT_EQ(look(started), 300 * kMillisecond);
}

TEST_F(StopwatchTest, ThePreviousLookBoundsOnlyTheFirstSight) {
  const WallTime started = time_.wall();
  time_.pass(kHour);
  EXPECT_EQ(look(started), kHour) << "no look before";
  time_.pass(kSecond);
  EXPECT_EQ(look(started), kHour + kSecond) << "the look a second ago saw the same thing";
}

TEST_F(StopwatchTest, AnotherStartIsAnotherThing) {
  const WallTime first = time_.wall();
  time_.pass(kHour);
  look(first);
  time_.pass(200 * kMillisecond);
  const WallTime second = time_.wall();
  time_.pass(300 * kMillisecond);
  EXPECT_EQ(look(second), 300 * kMillisecond);
  time_.pass(kSecond);
  EXPECT_EQ(look(second), kSecond + 300 * kMillisecond);
}

TEST_F(StopwatchTest, AnEarlierStartIsAnotherThingToo) {
  const WallTime first = time_.wall();
  time_.pass(kMinute);
  look(first);
  time_.set_wall_clock_by(-kHour);
  const WallTime second = time_.wall();
  time_.pass(kSecond);
  EXPECT_EQ(look(second), kSecond);
}

TEST_F(StopwatchTest, AStartOfZeroIsMeasuredLikeAnyOther) {
  EXPECT_EQ(
      watch_.observe(WallTime::none(), Now{wall_at(5 * kSecond), monotonic_at(9 * kSecond)}, kNoEarlierLook),
      5 * kSecond);
  EXPECT_EQ(watch_.observe(WallTime::none(), Now{wall_at(5 * kSecond), monotonic_at(10 * kSecond)},
                           monotonic_at(9 * kSecond)),
            6 * kSecond);
}

TEST_F(StopwatchTest, OfAClockSetWhileTheThingLastsNothingIsSeen) {
  for (const Micros jump : {kHour, -kHour}) {
    SCOPED_TRACE(jump);
    watch_ = Stopwatch{};
    previous_look_ = kNoEarlierLook;
    const WallTime started = time_.wall();
    time_.pass(kSecond);
    EXPECT_EQ(look(started), kSecond);
    time_.set_wall_clock_by(jump);
    EXPECT_EQ(look(started), kSecond);
    time_.pass(kSecond);
    EXPECT_EQ(look(started), 2 * kSecond);
  }
}

TEST_F(StopwatchTest, AClockSetForwardBeforeTheFirstSightAddsAtMostOneInterval) {
  previous_look_ = time_.monotonic();
  time_.pass(400 * kMillisecond);
  const WallTime started = time_.wall();
  time_.pass(300 * kMillisecond);
  time_.set_wall_clock_by(kHour);
  time_.pass(300 * kMillisecond);
  EXPECT_EQ(look(started), kSecond) << "truth is 0.6 s, the interval between the looks is 1 s";
}

TEST_F(StopwatchTest, AClockSetBackBeforeTheFirstSightTakesAtMostOneInterval) {
  previous_look_ = time_.monotonic();
  const WallTime started = time_.wall();
  time_.set_wall_clock_by(-kHour);
  time_.pass(kSecond);
  EXPECT_EQ(look(started), 0_us) << "truth is 1 s";
  time_.pass(kSecond);
  EXPECT_EQ(look(started), kSecond) << "never negative, never stuck";
}

TEST_F(StopwatchTest, AThingThatBeganAfterTheClockWasSetIsMeasuredExactly) {
  for (const Micros jump : {kHour, -kHour}) {
    SCOPED_TRACE(jump);
    watch_ = Stopwatch{};
    previous_look_ = time_.monotonic();
    time_.set_wall_clock_by(jump);
    time_.pass(100 * kMillisecond);
    const WallTime started = time_.wall();
    time_.pass(900 * kMillisecond);
    EXPECT_EQ(look(started), 900 * kMillisecond);
  }
}

}  // namespace
}  // namespace pgleak
