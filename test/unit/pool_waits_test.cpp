// Tests of core/pool_waits: when a pool is blocked, and by whom.
#include "core/pool_waits.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

Blocker session(int pid, Micros began) {
  Blocker blocker{};
  blocker.kind = Blocker::Kind::kSession;
  blocker.session = SessionId{pid, wall_at(kHour)};
  blocker.xact_start = wall_at(began);
  return blocker;
}

class PoolWaitsTest : public testing::Test {
 protected:
  // One sample a second, for a while. `blocker_` keeps those who wait waiting.
  void look(double waiting, int in_use, Micros duration = kSecond) {
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      now_ += kSecond;
      waits_.observe(waiting, in_use, waiting > 0 ? &blocker_ : nullptr, static_cast<int>(waiting), now_);
    }
  }

  MonotonicTime now_ = monotonic_at(kHour);
  Blocker blocker_ = session(4711, kMinute);
  PoolWaits waits_{};
};

TEST_F(PoolWaitsTest, HalfOfWhatIsInUseMustWait) {
  look(0, 10, kMinute);
  look(4, 10, kMinute);
  EXPECT_FALSE(waits_.is_blocked());
  look(5.1, 10, kMinute);
  EXPECT_TRUE(waits_.is_blocked());
}

TEST_F(PoolWaitsTest, MustLastForSomeSeconds) {
  look(0, 15, kMinute);
  look(15, 15, 5 * kSecond);
  EXPECT_FALSE(waits_.is_blocked());
  look(0, 15, 10 * kSecond);
  look(15, 15, 6 * kSecond);
  EXPECT_TRUE(waits_.is_blocked());
}

TEST_F(PoolWaitsTest, KnowsWhoItIsByThen) {
  look(0, 0, kMinute);
  look(15, 15, 3 * kSecond);
  EXPECT_FALSE(waits_.is_blocked());
  look(15, 15);
  EXPECT_TRUE(waits_.is_blocked());
  EXPECT_TRUE(waits_.has_blocker());
}

TEST_F(PoolWaitsTest, IsOverWhenNobodyWaits) {
  look(15, 15, kMinute);
  EXPECT_TRUE(waits_.is_blocked());
  look(0, 15);
  EXPECT_FALSE(waits_.is_blocked());
}

// With a lock_timeout of 100 ms and a pause of a second in between, few are seen waiting at a time, but
// hardly anybody does anything else.
TEST_F(PoolWaitsTest, ThoseWhoTryAgainAndAgainWait) {
  for (int i = 0; i < 60; i++) look(1.4, i % 3 == 0 ? 1 : 2);
  EXPECT_TRUE(waits_.is_blocked());
}

TEST_F(PoolWaitsTest, OneShortWaitInAQuietPoolIsNothing) {
  look(0, 0, kMinute);
  look(1, 1, kSecond);
  EXPECT_FALSE(waits_.is_blocked());
}

TEST_F(PoolWaitsTest, NamesWhoHasKeptItWaitingForLonger) {
  look(15, 15);
  EXPECT_FALSE(waits_.has_blocker());
  look(15, 15, 2 * kSecond);
  EXPECT_TRUE(waits_.has_blocker());
  EXPECT_EQ(waits_.blocker.session.pid, 4711);
  EXPECT_EQ(waits_.behind, 15);
}

// A queue for a hot row: who holds it is another one each time.
TEST_F(PoolWaitsTest, NamesNobodyWhereTheyTakeTurns) {
  for (int i = 0; i < 60; i++) {
    blocker_ = session(100 + i % 2, kMinute + kSecond * i);
    look(15, 15);
    EXPECT_FALSE(waits_.has_blocker());
  }
  EXPECT_TRUE(waits_.is_blocked());
}

TEST_F(PoolWaitsTest, AnotherTransactionOfTheSameSessionIsAnotherHold) {
  EXPECT_FALSE(is_same_hold(session(1, kMinute), session(1, kHour)));
  EXPECT_FALSE(is_same_hold(session(1, kMinute), session(2, kMinute)));
  EXPECT_TRUE(is_same_hold(session(1, kMinute), session(1, kMinute)));
  Blocker outside = session(1, 0_us);
  outside.is_session_level = true;
  EXPECT_TRUE(is_same_hold(outside, session(1, kMinute)));
}

TEST_F(PoolWaitsTest, PreparedTransactionsAreToldApartByTheirIds) {
  Blocker one{};
  one.kind = Blocker::Kind::kPreparedTransaction;
  one.xid = 700;
  Blocker other = one;
  other.xid = 701;
  EXPECT_TRUE(is_same_hold(one, one));
  EXPECT_FALSE(is_same_hold(one, other));
}

TEST_F(PoolWaitsTest, ForgetsABlockerThatIsNotSeenAnyMore) {
  look(15, 15, kMinute);
  look(0, 3, 9 * kSecond);
  EXPECT_TRUE(waits_.has_blocker());
  look(0, 3, kSecond);
  EXPECT_FALSE(waits_.has_blocker());
}

}  // namespace
}  // namespace pgleak
