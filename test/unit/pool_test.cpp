// Tests of core/pool: the verdict on pools of every kind over time, the forecast, and which changes of the
// verdict are reported. Each test is a series of samples, one per second, of a pool that behaves in one way.
#include "core/pool.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "samples.hpp"

namespace pgleak {

inline void PrintTo(Verdict verdict, std::ostream* out) { *out << to_string(verdict); }

namespace {

constexpr PoolRules kRules{80, 5 * kMinute};

// A pool and its activity; look() takes one sample per second for a while.
class PoolTest : public testing::Test {
 protected:
  // `in_use` of `connections` work; `leaked` of these are idle in a transaction.
  void is(int connections, int in_use, int leaked) {
    sample_.counts = PoolCounts{connections, in_use - leaked, connections - in_use, leaked, leaked};
    sample_.used = in_use;
    sample_.used_of_limit = in_use;
    sample_.turnover = in_use - leaked;
  }

  Verdict look(Micros duration) {
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      time_.pass(kSecond);
      observe_pool(&pool_, sample_, kRules, time_.now());
      if (take_announcement(&pool_, time_.monotonic())) announced_.push_back(pool_.verdict);
      sample_.has_restarted = false;
    }
    return pool_.verdict;
  }

  FakeTime time_;
  PoolSample sample_{};
  PoolState pool_{};
  std::vector<Verdict> announced_;
};

TEST_F(PoolTest, SteadyLoadBelowTheShareIsOk) {
  is(15, 15, 0);
  look(kMinute);
  is(15, 11, 0);
  EXPECT_EQ(look(kHour), Verdict::kOk);
  EXPECT_FALSE(pool_.busy_since.is_set());
  EXPECT_EQ(pool_.capacity, 15);
  EXPECT_EQ(pool_.in_use_percent(), 73);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
}

TEST_F(PoolTest, ABurstShorterThanTheLimitIsOk) {
  is(15, 3, 0);
  look(kHour);
  is(15, 15, 0);
  EXPECT_EQ(look(4 * kMinute), Verdict::kOk);
  EXPECT_TRUE(pool_.busy_since.is_set());
  is(15, 3, 0);
  EXPECT_EQ(look(kHour), Verdict::kOk);
  EXPECT_FALSE(pool_.busy_since.is_set());
  EXPECT_TRUE(announced_.empty());
}

TEST_F(PoolTest, BusyThroughoutIsUndersized) {
  is(15, 3, 0);
  look(kHour);
  is(15, 15, 0);
  look(5 * kMinute);
  const WallTime busy_since = pool_.busy_since;
  EXPECT_EQ(look(kMinute), Verdict::kUndersized);
  EXPECT_EQ(pool_.busy_since, busy_since);
  is(15, 3, 0);
  EXPECT_EQ(look(2 * kMinute), Verdict::kOk);
  EXPECT_EQ(announced_, (std::vector<Verdict>{Verdict::kUndersized, Verdict::kOk}));
}

// Between two transactions a connection is free for a moment, and a sample may hit many of these moments.
TEST_F(PoolTest, ShortDipsDoNotInterruptBusyness) {
  is(15, 3, 0);
  look(kHour);
  for (int i = 0; i < 400; i++) {
    is(15, i % 5 == 0 ? 11 : 14, 0);
    look(kSecond);
  }
  EXPECT_EQ(pool_.verdict, Verdict::kUndersized);
}

TEST_F(PoolTest, APoolThatStillGrowsIsNotFull) {
  for (int size = 3; size < 15; size++) {
    is(size, size, 0);
    EXPECT_EQ(look(kMinute), Verdict::kOk) << size;
  }
  is(15, 15, 0);
  EXPECT_EQ(look(4 * kMinute), Verdict::kOk);
  EXPECT_EQ(look(2 * kMinute), Verdict::kUndersized);
}

TEST_F(PoolTest, OneOrTwoSessionsThatAlwaysWorkAreNoFullPool) {
  for (const int size : {1, 2}) {
    is(size, size, 0);
    EXPECT_EQ(look(kHour), Verdict::kOk) << size;
    EXPECT_FALSE(pool_.busy_since.is_set());
  }
  is(3, 3, 0);
  EXPECT_EQ(look(kHour), Verdict::kUndersized);
}

// pg_dump -j 8, or reports: nothing waits for a connection, because each has its own for its one transaction.
TEST_F(PoolTest, SessionsThatStayInOneTransactionAreNoFullPool) {
  is(8, 8, 0);
  sample_.turnover = 0;
  EXPECT_EQ(look(kHour), Verdict::kOk);
  // A configured limit counts, whatever the sessions do.
  sample_.limit = 8;
  EXPECT_EQ(look(kHour), Verdict::kUndersized);
}

TEST_F(PoolTest, ALimitIsTheCapacity) {
  is(5, 5, 0);
  sample_.limit = 20;
  EXPECT_EQ(look(kHour), Verdict::kOk);
  EXPECT_EQ(pool_.capacity, 20);
  EXPECT_EQ(pool_.peak, 5);
  EXPECT_EQ(pool_.in_use_percent(), 25);
  // Other pools use the rest of it.
  sample_.used_of_limit = 19;
  EXPECT_EQ(look(kHour), Verdict::kUndersized);
  EXPECT_EQ(pool_.in_use_percent(), 95);
}

TEST_F(PoolTest, ALimitOfOneIsALimit) {
  is(1, 1, 0);
  sample_.limit = 1;
  EXPECT_EQ(look(6 * kMinute), Verdict::kUndersized);
}

TEST_F(PoolTest, AFewLeaksDoNotExplainAFullPool) {
  is(15, 3, 0);
  look(kHour);
  is(15, 15, 3);
  EXPECT_EQ(look(4 * kMinute), Verdict::kLeaking);  // open leaks while busy
  EXPECT_EQ(look(2 * kMinute), Verdict::kUndersized);
  is(15, 15, 4);
  EXPECT_EQ(look(kMinute), Verdict::kLeaking);
}

TEST_F(PoolTest, AnOpenLeakInAPoolWithRoomIsALeak) {
  is(15, 11, 0);
  look(kHour);
  is(15, 11, 1);
  EXPECT_EQ(look(kHour), Verdict::kLeak);
  EXPECT_TRUE(announced_.empty());
}

TEST_F(PoolTest, AQuarterOfWhatIsInUseIsLeaking) {
  is(15, 4, 0);
  look(kHour);
  is(15, 4, 1);
  EXPECT_EQ(look(kSecond), Verdict::kLeaking);
}

TEST_F(PoolTest, ASlowLeakHasARateAndAForecast) {
  is(15, 2, 0);
  sample_.limit = 15;
  look(kHour);
  for (int leaked = 1; leaked <= 6; leaked++) {
    is(15, 2 + leaked, leaked);
    look(kHour);
  }
  EXPECT_NEAR(pool_.leaks_per_hour, 1.0, 0.2);
  EXPECT_NEAR(static_cast<double>((pool_.exhausted_at - time_.wall()) / kMinute), 7 * 60, 90);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
}

TEST_F(PoolTest, OneLeakIsAtMostOneAnHour) {
  is(15, 1, 1);
  look(10 * kSecond);
  EXPECT_NEAR(pool_.leaks_per_hour, 1.0, 0.01);
}

TEST_F(PoolTest, AFastLeakIsForecastInMinutes) {
  is(15, 2, 0);
  look(kHour);
  for (int leaked = 1; leaked <= 10; leaked++) {
    is(15, 2 + leaked, leaked);
    look(30 * kSecond);
  }
  EXPECT_NEAR(pool_.leaks_per_hour, 120.0, 25.0);
  EXPECT_GT(pool_.exhausted_at, time_.wall());
  EXPECT_LT(pool_.exhausted_at, time_.wall() + 5 * kMinute);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
  is(15, 15, 13);
  look(kSecond);
  const WallTime full = time_.wall();
  look(2 * kHour);  // nothing can leak now
  EXPECT_EQ(pool_.exhausted_at, full);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
  EXPECT_EQ(announced_, (std::vector<Verdict>{Verdict::kLeaking}));
}

TEST_F(PoolTest, ALeakThatHealsIsOkAgain) {
  is(15, 5, 0);
  look(kHour);
  is(15, 8, 3);
  look(10 * kMinute);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
  is(15, 5, 0);
  EXPECT_EQ(look(kSecond), Verdict::kOk);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
  look(kHour);
  EXPECT_EQ(pool_.leaks_per_hour, 0.0);
}

TEST_F(PoolTest, LeaksThatComeAndGoDoNotAddUp) {
  is(15, 5, 0);
  look(kHour);
  for (int i = 0; i < 120; i++) {
    is(15, 6, 1);
    look(kMinute);
    is(15, 5, 0);
    look(kMinute);
  }
  EXPECT_LT(pool_.leaks_per_hour, 1.0);
}

TEST_F(PoolTest, ARestartOfTheApplicationForgetsThePool) {
  is(40, 40, 38);
  look(kHour);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
  is(4, 1, 0);
  sample_.has_restarted = true;
  EXPECT_EQ(look(kSecond), Verdict::kOk);
  EXPECT_EQ(pool_.peak, 4);
  EXPECT_EQ(pool_.leaks_per_hour, 0.0);
  EXPECT_EQ(announced_, (std::vector<Verdict>{Verdict::kLeaking, Verdict::kOk}));
  // And new leaks show immediately.
  for (int leaked = 1; leaked <= 5; leaked++) {
    is(10, 1 + leaked, leaked);
    look(kMinute);
  }
  EXPECT_NEAR(pool_.leaks_per_hour, 60.0, 15.0);
}

TEST_F(PoolTest, ThePeakIsThatOfADay) {
  is(15, 3, 0);
  look(kMinute);
  is(6, 3, 0);
  look(23 * kHour);
  EXPECT_EQ(pool_.capacity, 15);
  look(3 * kHour);
  EXPECT_EQ(pool_.capacity, 6);
}

TEST_F(PoolTest, AGapBetweenLooksIsNoHarm) {
  is(15, 5, 0);
  look(kMinute);
  time_.pass(1000 * kHour);
  EXPECT_EQ(look(kMinute), Verdict::kOk);
  EXPECT_EQ(pool_.peak, 15);
}

// All connections of a server count, as each takes a slot.
TEST_F(PoolTest, TheServerCountsEveryConnection) {
  is(95, 10, 0);
  sample_.scope = PoolScope::kServer;
  sample_.used = sample_.used_of_limit = 95;
  sample_.limit = 97;
  EXPECT_EQ(look(6 * kMinute), Verdict::kUndersized);
  EXPECT_EQ(pool_.in_use_percent(), 97);
}

TEST_F(PoolTest, AServerIsLeakingOnlyIfLeaksHoldAQuarterOfItsRoom) {
  is(30, 24, 24);
  sample_.scope = PoolScope::kServer;
  sample_.used = sample_.used_of_limit = 30;
  sample_.limit = 97;
  EXPECT_EQ(look(kMinute), Verdict::kLeak);
  is(30, 25, 25);
  EXPECT_EQ(look(kMinute), Verdict::kLeaking);
}

TEST_F(PoolTest, AMixtureHasNoCapacity) {
  is(90, 90, 80);
  sample_.scope = PoolScope::kOther;
  EXPECT_EQ(look(6 * kMinute), Verdict::kLeak);
  EXPECT_EQ(pool_.in_use_percent(), -1);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
}

TEST_F(PoolTest, AnAnnouncementIsMadeOnceAMinute) {
  is(15, 4, 0);
  look(kHour);
  for (int i = 0; i < 300; i++) {
    is(15, 4, i % 2);
    look(kSecond);
  }
  EXPECT_LE(announced_.size(), 6U);
  EXPECT_GE(announced_.size(), 5U);
  // A change that was held back is reported after the minute, if it still holds.
  is(15, 4, 0);
  look(2 * kMinute);
  EXPECT_EQ(announced_.back(), Verdict::kOk);
  EXPECT_EQ(pool_.announced, Verdict::kOk);
}

TEST(LeakSummaryTest, KnowsWhatAllLeaksHaveInCommon) {
  Episode episode{};
  episode.query_id = 81;
  episode.idle_since = wall_at(700_us);
  episode.detected_at = wall_at(900_us);
  episode.progress.last_state = SessionState::kIdleInTransaction;
  LeakSummary leaks{};
  leaks.add(episode, "/orders");
  episode.idle_since = wall_at(300_us);
  leaks.add(episode, "/orders");
  EXPECT_EQ(leaks.count, 2);
  EXPECT_EQ(leaks.idle, 2);
  EXPECT_EQ(leaks.since, wall_at(300_us));
  EXPECT_EQ(leaks.query_id, 81U);
  EXPECT_STREQ(leaks.route, "/orders");
  episode.query_id = 82;
  episode.progress.last_state = SessionState::kActive;
  leaks.add(episode, "");
  episode.query_id = 81;
  leaks.add(episode, "/orders");
  EXPECT_EQ(leaks.query_id, 0U);
  EXPECT_STREQ(leaks.route, "");
  EXPECT_EQ(leaks.idle, 2);
}

}  // namespace
}  // namespace pgleak
