// Tests of core/suspects: no suspects in healthy pools, as SQLAlchemy, HikariCP, PgBouncer and others run
// them, and every connection that is checked out and forgotten outside a transaction, as soon as its pool
// grows without it. The pools are simulated: requests arrive at random, one sample is taken per second.
#include "core/suspects.hpp"

#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "samples.hpp"
#include "simulated_pool.hpp"

namespace pgleak {
namespace {

struct Case {
  const char* name;
  Habits habits;
};

void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

class HealthyPoolTest : public testing::TestWithParam<Case> {};

TEST_P(HealthyPoolTest, HasNoSuspects) {
  for (unsigned seed = 1; seed <= 4; seed++) {
    Play play(GetParam().habits, seed);
    live(&play);
    EXPECT_EQ(play.most_suspects(), 0) << "seed " << seed;
  }
}

// Connections are held for a few seconds after the last statement, then returned without another one.
TEST_P(HealthyPoolTest, HasNoSuspectsIfItsUsersAreSlow) {
  for (unsigned seed = 1; seed <= 4; seed++) {
    Play play(GetParam().habits, seed);
    live(&play, 3 * kSecond);
    EXPECT_EQ(play.most_suspects(), 0) << "seed " << seed;
  }
}

TEST_P(HealthyPoolTest, HasNoSuspectsAfterARestartOfTheScanner) {
  Play play(GetParam().habits, 1);
  live(&play);
  play.pool_ = PoolActivity{};
  live(&play);
  EXPECT_EQ(play.most_suspects(), 0);
}

INSTANTIATE_TEST_SUITE_P(, HealthyPoolTest,
                         testing::Values(Case{"SQLAlchemy FIFO", sqlalchemy(false)},
                                         Case{"SQLAlchemy LIFO", sqlalchemy(true)},
                                         Case{"HikariCP fixed", hikari(0)},
                                         Case{"HikariCP with spares", hikari(3)},
                                         Case{"PgBouncer", pgbouncer()}, Case{"node-pg", node_pg()},
                                         Case{"plain FIFO", plain(false)}, Case{"plain LIFO", plain(true)}));

class ForgottenTest : public testing::TestWithParam<Case> {};

TEST_P(ForgottenTest, IsASuspectOnceThePoolGrowsWithoutIt) {
  Play play(GetParam().habits, 1);
  play.run(10 * kMinute, 0.2, kSecond);
  Connection* forgotten = play.forget_one();
  play.run(10 * kSecond, 0.2, kSecond);
  EXPECT_EQ(play.suspects(), 0);
  play.run(2 * kMinute, 3, kSecond);
  EXPECT_EQ(play.suspects(), 1);
  play.run(10 * kMinute, 0.5, kSecond);
  EXPECT_EQ(play.suspects(), 1);  // even after the load has ended
  EXPECT_TRUE(forgotten->activity.is_suspect);
  // It runs something again, so it was not forgotten.
  forgotten->has_run = true;
  play.run(2 * kSecond, 0.5, kSecond);
  EXPECT_EQ(play.suspects(), 0);
}

TEST_P(ForgottenTest, AreSuspectsOneAfterTheOther) {
  Play play(GetParam().habits, 2);
  play.run(5 * kMinute, 1, kSecond);
  for (int i = 0; i < 5; i++) {
    play.forget_one();
    play.run(3 * kMinute, 1 + 0.5 * i, kSecond);
  }
  EXPECT_GE(play.suspects(), 3);
  EXPECT_LE(play.suspects(), 5);
}

INSTANTIATE_TEST_SUITE_P(, ForgottenTest,
                         testing::Values(Case{"PgBouncer", pgbouncer()}, Case{"plain FIFO", plain(false)},
                                         Case{"plain LIFO", plain(true)}));

// Connections that change from one name to another belong to a pooler.
TEST(SharedPoolTest, HasNoSuspectsForAnHour) {
  Play play(plain(true), 1);
  play.run(10 * kMinute, 0.2, kSecond);
  play.forget_one();
  play.run(10 * kSecond, 0.2, kSecond);
  play.pool_.shared_on = play.time_.monotonic();
  play.run(55 * kMinute, 3, kSecond);
  EXPECT_EQ(play.most_suspects(), 0);
}

// A session quiet for one second, in a pool that had 4 connections then.
bool is_suspect(const PoolActivity& pool, Micros suspect_after = kSuspectAfter) {
  SessionActivity session{};
  session.seen_on = monotonic_at(1_us);
  session.idle_on = monotonic_at(kSecond);
  session.pool_size = 4;
  PoolObservation observation{};
  return observe_session(&session, {true, false}, pool, suspect_after, monotonic_at(kHour), &observation);
}

PoolActivity pool(std::int32_t size_before, Micros newest_used, Micros reused, Micros shared) {
  return PoolActivity{
      {5, 5, size_before}, monotonic_at(newest_used), monotonic_at(reused), monotonic_at(shared), {}};
}

TEST(SuspectsTest, NeedAllTheSigns) {
  EXPECT_TRUE(is_suspect(pool(5, kMinute, 2 * kMinute, 0_us)));
  EXPECT_FALSE(is_suspect(pool(4, kMinute, 2 * kMinute, 0_us))) << "not larger for long";
  EXPECT_FALSE(is_suspect(pool(5, kMinute, 0_us, 0_us))) << "none of the others is used any more";
  EXPECT_FALSE(is_suspect(pool(5, 4 * kSecond, 2 * kMinute, 0_us))) << "the new one came too soon";
  EXPECT_FALSE(is_suspect(pool(5, kMinute, 2 * kMinute, kHour - kMinute))) << "a pooler's";
  EXPECT_FALSE(is_suspect(pool(5, kMinute, 2 * kMinute, 0_us), 2 * kHour)) << "not quiet for long";
}

TEST(SuspectsTest, AreOffWithoutALimit) {
  EXPECT_FALSE(is_suspect(pool(5, kMinute, 2 * kMinute, 0_us), kNever));
}

}  // namespace
}  // namespace pgleak
