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
    sample_.counts = PoolCounts{connections, in_use - leaked, connections - in_use, leaked, leaked, 0};
    sample_.used = in_use;
    sample_.used_of_limit = in_use;
    sample_.turnover = in_use - leaked;
    sample_.waiting = sample_.waiting_of_limit = 0;
    leaks(leaked);
  }

  // Each of the leaks has run something of its own; those that are new are detected now.
  void leaks(int count) {
    while (static_cast<int>(detected_on_.size()) < count) detected_on_.push_back(time_.monotonic());
    detected_on_.resize(static_cast<std::size_t>(count));
    sample_.leaks = LeakSummary{};
    sample_.leaks.count = sample_.leaks.idle = count;
    if (count > 0) sample_.leaks.oldest_on = detected_on_.front();
  }

  // `count` sessions, which are active, wait for a lock that somebody else holds.
  void wait(double count) {
    sample_.waiting = sample_.waiting_of_limit = count;
    blocker_.kind = Blocker::Kind::kSession;
    blocker_.session = kSomeSession;
    sample_.blocker = count > 0 ? &blocker_ : nullptr;
    sample_.behind = static_cast<int>(count);
    if (count >= sample_.counts.active) sample_.turnover = 0;
  }

  Verdict look(Micros duration) {
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      time_.pass(kSecond);
      observe_pool(&pool_, sample_, kRules, time_.now());
      if (take_announcement(&pool_, time_.monotonic())) announced_.push_back(pool_.verdict);
      sample_.has_restarted = false;
      sample_.ends = LeakEnds{};
    }
    return pool_.verdict;
  }

  FakeTime time_;
  PoolSample sample_{};
  PoolState pool_{};
  Blocker blocker_{};
  std::vector<MonotonicTime> detected_on_;
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
  sample_.turnover = 0;
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

// A migration queues behind a session that is idle in its transaction, and everybody else behind the
// migration.
TEST_F(PoolTest, APoolThatWaitsForSomebodyElseIsBlocked) {
  is(15, 5, 0);
  look(kHour);
  is(15, 15, 0);
  wait(14);
  EXPECT_EQ(look(6 * kSecond), Verdict::kBlocked);
  EXPECT_EQ(pool_.counts.waiting, 14);
  EXPECT_EQ(look(kHour), Verdict::kBlocked);
  is(15, 5, 0);
  EXPECT_EQ(look(kSecond), Verdict::kOk);
  look(kMinute);
  EXPECT_EQ(announced_, (std::vector<Verdict>{Verdict::kBlocked, Verdict::kOk}));
}

TEST_F(PoolTest, APoolThatWaitsIsNeverUndersized) {
  is(15, 5, 0);
  look(kHour);
  is(15, 15, 0);
  wait(15);
  for (int i = 0; i < 3600; i++) EXPECT_NE(look(kSecond), Verdict::kUndersized) << i;
  // When the lock is free again there is much to do, which is no reason for a larger pool either.
  is(15, 15, 0);
  EXPECT_EQ(look(5 * kMinute), Verdict::kOk);
  EXPECT_TRUE(pool_.busy_since.is_set());
  EXPECT_EQ(look(kMinute), Verdict::kUndersized);
}

TEST_F(PoolTest, WaitersDoNotMakeAPoolUndersizedEitherIfTheyAreFewer) {
  is(15, 5, 0);
  look(kHour);
  is(15, 15, 0);
  wait(6);
  sample_.turnover = 9;
  EXPECT_EQ(look(kHour), Verdict::kOk);
  wait(1);
  EXPECT_EQ(look(kHour), Verdict::kUndersized);
}

TEST_F(PoolTest, APoolThatWaitsUnderALimitIsNotUndersized) {
  is(15, 15, 0);
  sample_.limit = 15;
  wait(15);
  look(5 * kSecond);
  EXPECT_EQ(look(kHour), Verdict::kBlocked);
  // Its own sessions work, but those of its neighbours wait and use the limit up.
  is(4, 4, 0);
  sample_.used_of_limit = 15;
  sample_.waiting_of_limit = 11;
  EXPECT_EQ(look(kHour), Verdict::kOk);
}

// lock_timeout = 2s, and a pause of 150 ms before the next try.
TEST_F(PoolTest, WaitersThatComeAndGoBlockToo) {
  is(15, 15, 0);
  look(kMinute);
  for (int i = 0; i < 600; i++) {
    const int waiting = 12 + i % 4;
    is(15, waiting, 0);
    wait(waiting - 0.7);
    sample_.turnover = 7;
    look(kSecond);
    if (i > 5) {
      EXPECT_EQ(pool_.verdict, Verdict::kBlocked) << i;
    }
  }
}

TEST_F(PoolTest, ABlockedPoolWithALeakOfItsOwnIsBlocked) {
  is(15, 5, 0);
  look(kHour);
  is(15, 15, 1);
  wait(14);
  EXPECT_EQ(look(kMinute), Verdict::kBlocked);
  is(15, 15, 5);
  wait(10);
  EXPECT_EQ(look(kMinute), Verdict::kLeaking);  // the worse of the two
}

TEST_F(PoolTest, OneOrTwoThatWaitAreShownButNotAnnounced) {
  is(15, 0, 0);
  look(kHour);
  is(15, 2, 0);
  wait(2);
  EXPECT_EQ(look(kMinute), Verdict::kBlocked);
  EXPECT_TRUE(announced_.empty());
  is(15, 3, 0);
  wait(3);
  look(kMinute);
  EXPECT_EQ(announced_, (std::vector<Verdict>{Verdict::kBlocked}));
}

TEST_F(PoolTest, AServerIsBlockedIfHalfOfItsConnectionsWait) {
  is(60, 30, 0);
  sample_.scope = PoolScope::kServer;
  sample_.used = sample_.used_of_limit = 60;
  sample_.limit = 97;
  wait(29);
  EXPECT_EQ(look(kMinute), Verdict::kOk);
  wait(31);
  EXPECT_EQ(look(kMinute), Verdict::kBlocked);
}

TEST_F(PoolTest, SessionsWithoutAPoolAreNotBlocked) {
  is(60, 60, 0);
  sample_.scope = PoolScope::kOther;
  wait(60);
  EXPECT_EQ(look(kMinute), Verdict::kOk);
}

// Each request has begun its transaction and waits for a second connection.
TEST_F(PoolTest, APoolThatWaitsForItselfIsLeaking) {
  is(5, 1, 0);
  look(kHour);
  is(5, 5, 5);
  sample_.leaks.begun = 5;
  EXPECT_EQ(look(kMinute), Verdict::kLeaking);
  EXPECT_EQ(pool_.pattern, LeakPattern::kNested);
}

// Free connections are idle in a transaction that a test query has opened; two are in use at a time.
TEST_F(PoolTest, AConnectionThatIsTestedIsNotLost) {
  for (int i = 0; i < 3600; i++) {
    is(10, 10, i < 2 ? 10 : 8);
    sample_.leaks.probes = sample_.leaks.count;
    sample_.turnover = i % 3 == 0 ? 0 : 2;
    sample_.ends = LeakEnds{};
    for (int end = 0; end < sample_.turnover; end++) sample_.ends.add(Outcome::kRolledBack, 5 * kSecond);
    EXPECT_EQ(look(kSecond), Verdict::kLeak) << i;
    EXPECT_FALSE(pool_.exhausted_at.is_set()) << i;
  }
  // A quiet night.
  sample_.ends = LeakEnds{};
  sample_.turnover = 0;
  EXPECT_EQ(look(8 * kHour), Verdict::kLeak);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
  EXPECT_TRUE(announced_.empty());
}

TEST_F(PoolTest, RequestsThatAreSlowAndCommitAreWork) {
  is(15, 3, 0);
  look(kHour);
  for (int i = 0; i < 120; i++) {
    is(15, 8, 6);
    sample_.leaks.oldest_on = time_.monotonic() - 20 * kSecond;
    sample_.turnover = 3;
    sample_.ends.add(Outcome::kCommitted, 25 * kSecond);
    look(kSecond);
    if (i > 3) {
      EXPECT_EQ(pool_.verdict, Verdict::kLeak) << i;
      EXPECT_FALSE(pool_.exhausted_at.is_set());
    }
  }
  is(15, 15, 12);
  for (int i = 0; i < 360; i++) {
    sample_.leaks.oldest_on = time_.monotonic() - 20 * kSecond;
    sample_.turnover = 3;
    sample_.ends.add(Outcome::kCommitted, 25 * kSecond);
    look(kSecond);
  }
  EXPECT_EQ(pool_.verdict, Verdict::kUndersized);
}

TEST_F(PoolTest, NothingHasBeenFreeOnlyIfNobodyGotAConnection) {
  is(15, 3, 0);
  look(kHour);
  is(15, 15, 14);
  sample_.turnover = 1;
  look(kMinute);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
  sample_.turnover = 0;
  const WallTime since = time_.wall() + kSecond;
  look(5 * kSecond);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
  look(kSecond);
  EXPECT_EQ(pool_.exhausted_at, since);
}

TEST_F(PoolTest, ALeakThatIsSecondsOldForetellsNothing) {
  is(15, 6, 0);
  look(kHour);
  is(15, 7, 2);
  look(4 * kMinute);
  EXPECT_EQ(pool_.verdict, Verdict::kLeaking);
  EXPECT_FALSE(pool_.exhausted_at.is_set());
  look(2 * kMinute);
  EXPECT_TRUE(pool_.exhausted_at.is_set());  // two, but old enough
  is(15, 6, 0);
  look(2 * kHour);
  is(15, 9, 3);
  look(kSecond);
  EXPECT_TRUE(pool_.exhausted_at.is_set());  // three at once
}

TEST_F(PoolTest, APoolOfOneOrTwoHasLeaksButIsNotLeaking) {
  for (const int size : {1, 2}) {
    is(size, size, size);
    EXPECT_EQ(look(kHour), Verdict::kLeak) << size;
    sample_.limit = 2;
    EXPECT_EQ(look(kHour), Verdict::kLeak) << size;
    sample_.limit = 0;
  }
  EXPECT_TRUE(announced_.empty());
  is(3, 3, 2);
  EXPECT_EQ(look(kMinute), Verdict::kLeaking);
}

// What others use of the same limit is not its business any more.
TEST_F(PoolTest, AClosedPoolHasNoVerdict) {
  is(5, 5, 0);
  sample_.limit = 20;
  look(kHour);
  EXPECT_TRUE(announced_.empty());
  is(0, 0, 0);
  sample_.used_of_limit = 20;
  EXPECT_EQ(look(kHour), Verdict::kOk);
  EXPECT_TRUE(announced_.empty());
}

TEST_F(PoolTest, KnowsWhatItHasLostToATerminate) {
  is(15, 15, 5);
  look(kMinute);
  const WallTime terminated = time_.wall() + kSecond;
  is(10, 10, 0);
  for (int i = 0; i < 5; i++) sample_.ends.add(Outcome::kTerminated, kMinute);
  look(kSecond);
  EXPECT_EQ(pool_.terminated.missing, 5);
  EXPECT_EQ(pool_.terminated.at, terminated);
  is(12, 10, 0);
  look(kHour);
  EXPECT_EQ(pool_.terminated.missing, 3);
  is(15, 10, 0);
  look(kSecond);
  EXPECT_EQ(pool_.terminated.missing, 0);
  is(10, 10, 0);
  look(kSecond);
  EXPECT_EQ(pool_.terminated.missing, 0);  // it has closed them itself
}

TEST_F(PoolTest, AfterARestartNothingIsMissing) {
  is(15, 15, 5);
  look(kMinute);
  is(10, 10, 0);
  for (int i = 0; i < 5; i++) sample_.ends.add(Outcome::kTerminated, kMinute);
  look(kSecond);
  is(2, 1, 0);
  sample_.has_restarted = true;
  look(kSecond);
  EXPECT_EQ(pool_.terminated.missing, 0);
}

TEST_F(PoolTest, KnowsHowLongItsSessionsAreIdleInTheirTransactions) {
  is(30, 30, 0);
  sample_.idle = IdleInTransaction{27, 27 * 700 * kMillisecond};
  look(kHour);
  EXPECT_NEAR(pool_.mean_idle, 27, 0.1);
  EXPECT_NEAR(pool_.mean_idle_us, 700000, 1);
  sample_.idle = IdleInTransaction{};
  look(kHour);
  EXPECT_NEAR(pool_.mean_idle, 0, 0.1);
}

}  // namespace
}  // namespace pgleak
