// Tests of core/blocking_watch: how long a session has kept others waiting, what interrupts that, and when
// what it holds belongs to the session instead of a transaction.
#include "core/blocking_watch.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr TransactionBlock kOutside{false, 0, WallTime::none()};

TransactionBlock block_of(XactSeq xact_seq) { return TransactionBlock{true, xact_seq, wall_at(kSecond)}; }

// A scanner that looks for those who wait behind one session.
class BlockingWatchTest : public testing::Test {
 protected:
  void look(bool blocks, const TransactionBlock& block) { watch_.observe(blocks, block, time_.monotonic()); }
  // Looks once every `interval` until `duration` has passed, and sees somebody waiting each time.
  void keep_waiting(Micros duration, Micros interval, const TransactionBlock& block) {
    look(true, block);
    for (Micros passed{0}; passed < duration; passed += interval) {
      time_.pass(interval);
      look(true, block);
    }
  }
  std::optional<Micros> age(const TransactionBlock& block) const {
    return watch_.age(block, time_.monotonic());
  }

  FakeTime time_;
  BlockingWatch watch_{};
};

TEST_F(BlockingWatchTest, ASessionThatNobodyWaitsForHasNoAge) {
  EXPECT_EQ(age(block_of(5)), std::nullopt);
  EXPECT_TRUE(watch_.is_over(block_of(5), time_.monotonic()));
  look(false, block_of(5));
  time_.pass(kHour);
  look(false, block_of(5));
  EXPECT_EQ(age(block_of(5)), std::nullopt);
  EXPECT_FALSE(watch_.since.is_set());
}

TEST_F(BlockingWatchTest, TheFirstWaiterStartsTheClockAtZero) {
  look(true, block_of(5));
  EXPECT_EQ(age(block_of(5)), 0_us);
  EXPECT_FALSE(watch_.is_session_level);
  EXPECT_EQ(watch_.xact_seq, 5u);
}

TEST_F(BlockingWatchTest, TheAgeReachesFromTheFirstWaiterToTheLast) {
  keep_waiting(kMinute, kSecond, block_of(5));
  EXPECT_EQ(age(block_of(5)), kMinute);
}

// One who waited for a moment makes no leak.
TEST_F(BlockingWatchTest, TheTimeSinceTheLastWaiterDoesNotCountUntilAnotherComes) {
  look(true, block_of(5));
  time_.pass(9 * kSecond);
  EXPECT_EQ(age(block_of(5)), 0_us);
  look(false, block_of(5));
  EXPECT_EQ(age(block_of(5)), 0_us);
  look(true, block_of(5));
  EXPECT_EQ(age(block_of(5)), 9 * kSecond);
}

TEST_F(BlockingWatchTest, AGapOfTenSecondsIsBridged) {
  look(true, block_of(5));
  time_.pass(kBlockingGap);
  EXPECT_FALSE(watch_.is_over(block_of(5), time_.monotonic()));
  EXPECT_EQ(age(block_of(5)), 0_us);
  look(false, block_of(5));
  EXPECT_TRUE(watch_.since.is_set());
  look(true, block_of(5));
  EXPECT_EQ(age(block_of(5)), kBlockingGap);
}

TEST_F(BlockingWatchTest, ALongerGapStartsTheClockAgain) {
  keep_waiting(kMinute, kSecond, block_of(5));
  time_.pass(kBlockingGap + 1_us);
  EXPECT_TRUE(watch_.is_over(block_of(5), time_.monotonic()));
  EXPECT_EQ(age(block_of(5)), std::nullopt);
  look(true, block_of(5));
  EXPECT_EQ(age(block_of(5)), 0_us);
}

TEST_F(BlockingWatchTest, ALookThatSeesNobodyAfterALongerGapForgetsAll) {
  keep_waiting(kMinute, kSecond, kOutside);
  time_.pass(kBlockingGap + 1_us);
  look(false, kOutside);
  EXPECT_FALSE(watch_.since.is_set());
  EXPECT_FALSE(watch_.is_session_level);
}

TEST_F(BlockingWatchTest, LooksThatSeeNobodyDoNotShortenTheGap) {
  look(true, block_of(5));
  for (int i = 0; i < 11; i++) {
    time_.pass(kSecond);
    look(false, block_of(5));
  }
  EXPECT_EQ(age(block_of(5)), std::nullopt);
}

// Each attempt is over within milliseconds, and the next one comes a second later.
TEST_F(BlockingWatchTest, WaitersWithAShortLockTimeoutCountAsOneLongWait) {
  for (int i = 0; i <= 60; i++) {
    look(true, block_of(5));
    time_.pass(50 * kMillisecond);
    look(false, block_of(5));
    time_.pass(950 * kMillisecond);
  }
  EXPECT_EQ(age(block_of(5)), kMinute);
}

// --- transactions ---

TEST_F(BlockingWatchTest, ATransactionThatEndsTakesItsClockAlong) {
  keep_waiting(kMinute, kSecond, block_of(5));
  EXPECT_TRUE(watch_.is_over(kOutside, time_.monotonic()));
  EXPECT_EQ(age(kOutside), std::nullopt);
  look(false, kOutside);
  EXPECT_FALSE(watch_.since.is_set());
}

TEST_F(BlockingWatchTest, TheNextTransactionStartsFromZero) {
  keep_waiting(kMinute, kSecond, block_of(5));
  EXPECT_EQ(age(block_of(6)), std::nullopt);
  look(true, block_of(6));
  EXPECT_EQ(age(block_of(6)), 0_us);
  EXPECT_EQ(watch_.xact_seq, 6u);
  EXPECT_EQ(age(block_of(5)), std::nullopt);
}

TEST_F(BlockingWatchTest, ATransactionThatStartsWithoutAWaiterEndsTheClockOfTheLast) {
  keep_waiting(kMinute, kSecond, block_of(5));
  look(false, block_of(6));
  EXPECT_FALSE(watch_.since.is_set());
}

// --- what the session holds outside of transactions ---

TEST_F(BlockingWatchTest, WhatOthersWaitForOutsideOfATransactionBelongsToTheSession) {
  look(true, kOutside);
  EXPECT_TRUE(watch_.is_session_level);
  EXPECT_EQ(age(kOutside), 0_us);
  keep_waiting(kMinute, kSecond, kOutside);
  EXPECT_EQ(age(kOutside), kMinute);
}

TEST_F(BlockingWatchTest, WhatOutlivesItsTransactionBelongsToTheSession) {
  keep_waiting(kMinute, kSecond, block_of(5));
  time_.pass(kSecond);
  look(true, kOutside);
  EXPECT_TRUE(watch_.is_session_level);
  EXPECT_EQ(age(kOutside), kMinute + kSecond);
}

TEST_F(BlockingWatchTest, WhatOthersWaitForAfterAGapHasOutlivedNothing) {
  keep_waiting(kMinute, kSecond, block_of(5));
  time_.pass(kBlockingGap);
  BlockingWatch bridged = watch_;
  bridged.observe(true, kOutside, time_.monotonic());
  EXPECT_EQ(bridged.age(kOutside, time_.monotonic()), kMinute + kBlockingGap);

  time_.pass(1_us);
  look(true, kOutside);
  EXPECT_TRUE(watch_.is_session_level);
  EXPECT_EQ(age(kOutside), 0_us);
}

// A pool's keepalive, or the holder's own work: idle, a short transaction, idle again, and others wait
// throughout.
TEST_F(BlockingWatchTest, KeepalivesOfAnIdleHolderDoNotInterruptItsClock) {
  look(true, kOutside);
  for (XactSeq seq = 6; seq < 66; seq++) {
    time_.pass(500 * kMillisecond);
    look(true, block_of(seq));
    EXPECT_TRUE(watch_.is_session_level);
    EXPECT_EQ(age(block_of(seq)), time_.monotonic() - watch_.since);
    time_.pass(500 * kMillisecond);
    look(true, kOutside);
  }
  EXPECT_EQ(age(kOutside), kMinute);
}

TEST_F(BlockingWatchTest, AKeepaliveBetweenTwoWaitersDoesNotInterruptTheClockEither) {
  look(true, kOutside);
  time_.pass(4 * kSecond);
  look(false, block_of(6));
  time_.pass(4 * kSecond);
  look(false, kOutside);
  time_.pass(kSecond);
  look(true, block_of(7));
  EXPECT_EQ(age(block_of(7)), 9 * kSecond);
}

TEST_F(BlockingWatchTest, ASessionWhoseLockIsFreeHoldsItsNextLocksInTransactions) {
  keep_waiting(kMinute, kSecond, kOutside);
  time_.pass(kBlockingGap + 1_us);
  look(true, block_of(6));
  EXPECT_FALSE(watch_.is_session_level);
  EXPECT_EQ(age(block_of(7)), std::nullopt);
}

}  // namespace
}  // namespace pgleak
