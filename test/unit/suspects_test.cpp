// Tests of core/suspects: no suspects in healthy pools, as SQLAlchemy, HikariCP, PgBouncer and others run
// them, and every connection that is checked out and forgotten outside a transaction, as soon as its pool
// grows without it. The pools are simulated: requests arrive at random, one sample is taken per second.
#include "core/suspects.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <list>
#include <random>
#include <vector>

#include "core/limits.hpp"
#include "samples.hpp"

namespace pgleak {
namespace {

constexpr Micros kStep = 100 * kMillisecond;
constexpr Micros kSuspectAfter = kMinute;
constexpr MonotonicTime kNeverEnds{INT64_MAX};

Micros scaled(Micros duration, double factor) {
  return Micros{static_cast<std::int64_t>(static_cast<double>(duration.us) * factor)};
}

struct Connection {
  MonotonicTime busy_until{};
  MonotonicTime quiet_until{};  // until then checked out and idle outside a transaction
  bool is_out = false;
  bool has_run = true;  // since the last sample
  MonotonicTime expires_on = kNeverEnds;
  MonotonicTime returned_on{};
  SessionActivity activity{};
};

// What a pool does by itself, besides lending connections.
struct Habits {
  bool is_lifo = false;
  int most = 20;
  int spares = 0;            // opens connections until this many are free
  bool starts_full = false;  // opens `most` at its start
  int keeps = 20;            // closes returned connections beyond this number (SQLAlchemy's overflow)
  Micros lifetime{0};        // replaces connections of that age
  bool opens_before_closing = false;
  Micros idle_timeout{0};  // closes connections that were free this long
  bool resets_on_return = false;
};

class Play {
 public:
  Play(Habits habits, unsigned seed) : habits_(habits), random_(seed) {}

  // For `duration`, requests arrive at `per_second` and last `busy`, both on average.
  void run(Micros duration, double per_second, Micros busy, Micros quiet = 0_us) {
    for (Micros passed{0}; passed < duration; passed += kStep) {
      time_.pass(kStep);
      give_back();
      keep_house();
      std::poisson_distribution<int> arrivals(per_second / static_cast<double>(kSecond / kStep));
      for (int n = arrivals(random_); n > 0; n--) lend(busy, quiet);
      if (time_.monotonic() >= look_on_) look();
    }
  }

  // Takes a connection, runs a statement outside a transaction, and forgets the connection.
  Connection* forget_one() {
    Connection* taken = check_out();
    taken->busy_until = time_.monotonic() + kStep;
    taken->quiet_until = kNeverEnds;
    return taken;
  }

  void close(Connection* which) {
    connections_.remove_if([which](const Connection& c) { return &c == which; });
  }

  int suspects() const { return suspects_; }
  int most_suspects() const { return most_suspects_; }
  std::size_t size() const { return connections_.size(); }
  FakeTime time_;
  PoolActivity pool_{};

 private:
  Connection* open() {
    connections_.emplace_back();
    Connection* fresh = &connections_.back();
    fresh->returned_on = time_.monotonic();
    if (habits_.lifetime > 0_us) {
      std::uniform_real_distribution<double> jitter(0.9, 1.0);
      fresh->expires_on = time_.monotonic() + scaled(habits_.lifetime, jitter(random_));
    }
    return fresh;
  }

  Connection* check_out() {
    Connection* taken;
    if (!free_.empty()) {
      taken = habits_.is_lifo ? free_.back() : free_.front();
      habits_.is_lifo ? free_.pop_back() : free_.pop_front();
    } else {
      if (static_cast<int>(connections_.size()) >= habits_.most) return nullptr;
      taken = open();
    }
    taken->is_out = true;
    taken->has_run = true;
    return taken;
  }

  void lend(Micros busy, Micros quiet) {
    Connection* taken = check_out();
    if (taken == nullptr) return;  // the request waits elsewhere
    std::exponential_distribution<double> length(1.0);
    taken->busy_until = time_.monotonic() + scaled(busy, length(random_));
    taken->quiet_until = taken->busy_until;
    if (quiet > 0_us) {
      std::uniform_real_distribution<double> pause(0.0, 1.0);
      taken->quiet_until += scaled(quiet, pause(random_));
    }
  }

  void give_back() {
    for (auto c = connections_.begin(); c != connections_.end();) {
      Connection* connection = &*c++;
      if (!connection->is_out || connection->quiet_until > time_.monotonic()) continue;
      connection->is_out = false;
      connection->returned_on = time_.monotonic();
      if (habits_.resets_on_return) connection->has_run = true;
      const bool is_surplus = static_cast<int>(free_.size()) >= habits_.keeps;
      if (is_surplus || connection->expires_on <= time_.monotonic())
        close(connection);
      else
        free_.push_back(connection);
    }
  }

  void keep_house() {
    if (habits_.starts_full && connections_.empty())
      for (int i = 0; i < habits_.most; i++) free_.push_back(open());
    const auto free_now = free_;
    for (Connection* connection : free_now) {
      const bool is_old = connection->expires_on <= time_.monotonic();
      const bool is_unwanted =
          habits_.idle_timeout > 0_us && time_.monotonic() - connection->returned_on > habits_.idle_timeout;
      if (!is_old && !is_unwanted) continue;
      if (is_old && habits_.opens_before_closing) free_.push_back(open());
      free_.erase(std::find(free_.begin(), free_.end(), connection));
      if (is_old && habits_.opens_before_closing)
        closing_.push_back(connection);  // asynchronously: it still exists until the next sample
      else
        close(connection);
      if (is_old && !habits_.opens_before_closing) free_.push_back(open());
    }
    while (static_cast<int>(free_.size()) < habits_.spares &&
           static_cast<int>(connections_.size()) < habits_.most)
      free_.push_back(open());
  }

  void look() {
    look_on_ = time_.monotonic() + kSecond;
    PoolObservation observation{};
    suspects_ = 0;
    for (Connection& c : connections_) {
      if (!c.activity.seen_on.is_set()) c.activity.seen_on = time_.monotonic();
      const bool is_idle = !c.is_out || c.busy_until <= time_.monotonic();
      suspects_ += observe_session(&c.activity, SessionObservation{is_idle, c.has_run}, pool_, kSuspectAfter,
                                   time_.monotonic(), &observation);
      c.has_run = !is_idle;  // it keeps running, and has run something when it stops
    }
    observe_activity(&pool_, observation, time_.monotonic());
    if (suspects_ > most_suspects_) most_suspects_ = suspects_;
    for (Connection* connection : closing_) close(connection);
    closing_.clear();
  }

  Habits habits_;
  std::mt19937 random_;
  std::list<Connection> connections_;
  std::deque<Connection*> free_;
  std::vector<Connection*> closing_;
  MonotonicTime look_on_{};
  int suspects_ = 0;
  int most_suspects_ = 0;
};

// Nights and days, bursts and lulls.
void live(Play* play, Micros quiet = 0_us) {
  for (int day = 0; day < 4; day++) {
    play->run(10 * kMinute, 0.05, kSecond, quiet);
    play->run(10 * kMinute, 2, kSecond, quiet);
    play->run(kMinute, 30, kSecond / 2, quiet);
    play->run(10 * kMinute, 5, kSecond, quiet);
    play->run(20 * kSecond, 60, kSecond / 2, quiet);
  }
}

Habits sqlalchemy(bool is_lifo) {
  Habits habits;
  habits.is_lifo = is_lifo;
  habits.most = 15;
  habits.keeps = 5;
  habits.resets_on_return = true;
  return habits;
}

Habits hikari(int spares) {
  Habits habits;
  habits.most = 20;
  habits.starts_full = spares == 0;
  habits.spares = spares;
  habits.lifetime = 5 * kMinute;
  habits.opens_before_closing = true;
  habits.idle_timeout = spares > 0 ? 4 * kMinute : 0_us;
  return habits;
}

Habits pgbouncer() {
  Habits habits;
  habits.is_lifo = true;
  habits.lifetime = 20 * kMinute;
  habits.idle_timeout = 10 * kMinute;
  return habits;
}

Habits node_pg() {
  Habits habits;
  habits.is_lifo = true;
  habits.most = 10;
  habits.idle_timeout = 10 * kSecond;
  return habits;
}

Habits plain(bool is_lifo) {
  Habits habits;
  habits.is_lifo = is_lifo;
  return habits;
}

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
      {5, 5, size_before}, monotonic_at(newest_used), monotonic_at(reused), monotonic_at(shared)};
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
