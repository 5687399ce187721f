// Tests of core/silence: a pool of fixed size all of whose connections are checked out and forgotten is
// noticed; healthy pools, which have nights, pauses and replacements, are not.
#include "core/silence.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/limits.hpp"
#include "simulated_pool.hpp"

namespace pgleak {
namespace {

// Takes all connections of the pool, one after the other while it works.
void lose_all(Play* play, Micros pause) {
  for (int i = 0; i < 100 && play->forget_one() != nullptr; i++) play->run(pause, 5, kSecond / 5);
  for (int i = 0; i < 100; i++) {
    play->run(kSecond, 0, kSecond);
    while (play->forget_one() != nullptr) {
    }
  }
}

// --- what is noticed ---

class LostPoolTest : public testing::TestWithParam<bool> {};

TEST_P(LostPoolTest, FallsSilentAtOnce) {
  Habits habits = hikari(0);
  habits.most = 10;
  habits.is_lifo = GetParam();
  habits.lifetime = 0_us;
  Play play(habits, 1);
  play.run(2 * kMinute, 20, kSecond / 5);
  EXPECT_FALSE(play.has_fallen_silent());
  lose_all(&play, 0_us);
  play.run(2 * kMinute, 20, kSecond / 5);
  EXPECT_TRUE(play.has_fallen_silent());
  EXPECT_GT(play.pool_.silence.rate, 5);
  EXPECT_EQ(play.pool_.silence.silent_size, 10);
}

TEST_P(LostPoolTest, LosesThemOneByOne) {
  Habits habits = hikari(0);
  habits.most = 10;
  habits.is_lifo = GetParam();
  habits.lifetime = 0_us;
  Play play(habits, 2);
  play.run(2 * kMinute, 20, kSecond / 5);
  lose_all(&play, 30 * kSecond);
  play.run(5 * kMinute, 20, kSecond / 5);
  EXPECT_TRUE(play.has_fallen_silent());
}

INSTANTIATE_TEST_SUITE_P(FifoAndLifo, LostPoolTest, testing::Bool());

// --- single samples, one per second ---

class SilenceTest : public testing::Test {
 protected:
  void see(int samples, int transactions, int connections = 10, int idle = -1) {
    for (int i = 0; i < samples; i++) {
      time_.pass(kSecond);
      observe_silence(&pool_, PoolTurnover{connections, idle < 0 ? connections : idle, transactions},
                      suspect_after_, time_.now());
    }
  }

  FakeTime time_;
  PoolSilence pool_{};
  Micros suspect_after_ = 30 * kSecond;
};

TEST_F(SilenceTest, IsNoticedAfterTheLimit) {
  see(61, 40);
  see(29, 0);
  EXPECT_FALSE(pool_.has_fallen_silent);
  see(1, 0);
  EXPECT_TRUE(pool_.has_fallen_silent);
  EXPECT_NEAR(pool_.rate, 40, 1);
  EXPECT_EQ(time_.monotonic() - pool_.silent_on, 30 * kSecond);
}

TEST_F(SilenceTest, IsNeverNoticedAtOnce) {
  suspect_after_ = kSecond;
  see(61, 40);
  see(9, 0);
  EXPECT_FALSE(pool_.has_fallen_silent);
  see(1, 0);
  EXPECT_TRUE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, IsOverWhenSomethingRuns) {
  see(61, 40);
  see(60, 0);
  see(1, 1);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, IsNoneWhileOneWorks) {
  see(61, 40);
  see(600, 0, 10, 9);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, IsNoneWithoutALimit) {
  suspect_after_ = kNever;
  see(61, 40);
  see(600, 0);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, TwoConnectionsAreNoPool) {
  see(61, 40, 2);
  see(600, 0, 2);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, APoolThatClosesConnectionsIsHealthy) {
  see(61, 40);
  see(5, 0);
  see(600, 0, 9);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, AFewRequestsAreNoSteadyTurnover) {
  see(10, 40);
  see(600, 0);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, RequestsThatBecomeFewerAreNoSteadyTurnover) {
  see(61, 40);
  for (int pause = 1; pause < 40; pause++) {
    see(pause, 0);
    see(1, 1);
  }
  see(600, 0);
  EXPECT_FALSE(pool_.has_fallen_silent);
}

// A job that runs every hour is taken for a loss once at most.
TEST_F(SilenceTest, APoolThatPausesDoesSoAgain) {
  for (int hour = 0; hour < 20; hour++) {
    see(600, 40);
    see(3000 + 20 * hour, 0);
    EXPECT_EQ(pool_.has_fallen_silent, hour == 0) << "hour " << hour;
  }
  see(600, 40);
  see(5 * 3400 + 10, 0);
  EXPECT_TRUE(pool_.has_fallen_silent);
}

TEST_F(SilenceTest, PausesAreForgottenAfterADay) {
  see(60, 40);
  see(3000, 0);
  see(25 * 3600, 40);
  see(1, 0);
  see(60, 40);
  see(30, 0);
  EXPECT_TRUE(pool_.has_fallen_silent);
}

// --- healthy pools ---

Habits asyncpg() {
  Habits habits = plain(true);
  habits.most = 10;
  habits.starts_full = true;
  habits.idle_timeout = 5 * kMinute;
  return habits;
}

struct Case {
  const char* name;
  Habits habits;
};

void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

class HealthyDayTest : public testing::TestWithParam<Case> {};

// 24 hours from midnight: `noon` requests per second at noon, a hundredth of a thousandth of that at
// midnight.
void live_a_day(Play* play, double noon) {
  for (int minute = 0; minute < 24 * 60; minute++) {
    const double share = 0.5 - 0.5 * std::cos(2 * 3.14159265 * minute / (24 * 60));
    play->run(kMinute, noon * std::pow(10, 5 * (share - 1)), kSecond / 5);
  }
}

TEST_P(HealthyDayTest, IsNeverSilentBySurprise) {
  for (const double noon : {30.0, 3.0}) {
    Play play(GetParam().habits, 7);
    play.suspect_after_ = kSecond;  // the shortest limit finds most
    live_a_day(&play, noon);
    EXPECT_EQ(play.silent_samples(), 0) << noon;
    EXPECT_EQ(play.most_suspects(), 0) << noon;
  }
}

INSTANTIATE_TEST_SUITE_P(, HealthyDayTest,
                         testing::Values(Case{"SQLAlchemy", sqlalchemy(true)}, Case{"HikariCP", hikari(0)},
                                         Case{"HikariCP with spares", hikari(3)}, Case{"asyncpg", asyncpg()},
                                         Case{"PgBouncer", pgbouncer()}, Case{"plain", plain(false)}));

}  // namespace
}  // namespace pgleak
