// Tests of core/pool_sum: the pools of an application at several addresses, as one.
#include "core/pool_sum.hpp"

#include <gtest/gtest.h>

#include "leak_origin.hpp"
#include "samples.hpp"

namespace pgleak {
namespace {

Episode leak(Micros began, std::uint64_t query_id) {
  Episode episode{};
  episode.query_id = query_id;
  episode.xact_start = episode.idle_since = wall_at(began);
  episode.detected_at = wall_at(began + kSecond);
  episode.detected_mono = monotonic_at(began + kSecond);
  episode.progress.last_state = SessionState::kIdleInTransaction;
  return episode;
}

PoolSample pool(std::int32_t active, std::int32_t idle, std::int32_t idle_in_transaction) {
  PoolSample sample{};
  sample.counts.connections = active + idle + idle_in_transaction;
  sample.counts.active = active;
  sample.counts.idle = idle;
  sample.counts.idle_in_transaction = idle_in_transaction;
  return sample;
}

TEST(PoolSumTest, SessionsAreAddedUp) {
  PoolSample first = pool(1, 2, 3);
  first.turnover = 4;
  first.waiting = 0.5;
  first.idle = IdleInTransaction{1, 5 * kSecond};
  first.suspects = SuspectSummary{1, 90 * kSecond, WallTime::none(), 0};
  first.ends.add(Outcome::kCommitted, 3 * kSecond);
  PoolSample second = pool(10, 20, 30);
  second.turnover = 40;
  first.transactions = 5;
  second.transactions = 700;
  second.waiting = 1.5;
  second.idle = IdleInTransaction{2, 50 * kSecond};
  second.suspects = SuspectSummary{2, 80 * kSecond, WallTime::none(), 0};
  second.ends.add(Outcome::kTerminated, 9 * kSecond);
  PoolSample sum{};
  for (const PoolSample* sample : {&first, &second}) add_sample(&sum, *sample);
  EXPECT_EQ(sum.counts.connections, 66);
  EXPECT_EQ(sum.counts.active, 11);
  EXPECT_EQ(sum.counts.idle, 22);
  EXPECT_EQ(sum.counts.idle_in_transaction, 33);
  EXPECT_EQ(sum.transactions, 705);
  EXPECT_EQ(sum.turnover, 44);
  EXPECT_EQ(sum.waiting, 2);
  EXPECT_EQ(sum.idle.count, 3);
  EXPECT_EQ(sum.idle.total, 55 * kSecond);
  EXPECT_EQ(sum.suspects.count, 3);
  EXPECT_EQ(sum.suspects.longest_idle, 90 * kSecond);
  EXPECT_EQ(sum.ends.count, 2);
  EXPECT_EQ(sum.ends.terminated, 1);
  EXPECT_EQ(sum.ends.longest, 3 * kSecond);
}

TEST(PoolSumTest, LeaksHaveInCommonWhatAllPoolsHave) {
  PoolSample pools[3] = {pool(0, 1, 1), pool(0, 1, 2), pool(5, 0, 0)};
  pools[0].counts.leaked = 1;
  pools[0].leaks.add(leak(700 * kSecond, 81), origin("/orders", "SELECT 42"));
  pools[1].counts.leaked = 2;
  pools[1].leaks.add(leak(300 * kSecond, 81), origin("/orders", "SELECT 43"));
  pools[1].leaks.add(leak(900 * kSecond, 81), origin("/orders", "SELECT 44"));
  PoolSample sum{};
  for (const PoolSample& sample : pools) add_sample(&sum, sample);
  EXPECT_EQ(sum.counts.leaked, 3);
  EXPECT_EQ(sum.leaks.count, 3);
  EXPECT_EQ(sum.leaks.idle, 3);
  EXPECT_EQ(sum.leaks.since, wall_at(300 * kSecond));
  EXPECT_EQ(sum.leaks.oldest_on, monotonic_at(301 * kSecond));
  EXPECT_EQ(sum.leaks.first_began, wall_at(300 * kSecond));
  EXPECT_EQ(sum.leaks.last_began, wall_at(900 * kSecond));
  EXPECT_EQ(sum.leaks.query_id, 81U);
  EXPECT_STREQ(sum.leaks.route, "/orders");
  EXPECT_STREQ(sum.leaks.statement, "SELECT 42");

  PoolSample other = pool(0, 0, 1);
  other.leaks.add(leak(800 * kSecond, 82), origin("/cart", "UPDATE"));
  add_sample(&sum, other);
  EXPECT_EQ(sum.leaks.query_id, 0U);
  EXPECT_STREQ(sum.leaks.route, "");
  EXPECT_STREQ(sum.leaks.statement, "");
}

TEST(PoolSumTest, TestQueriesThatDifferAreNotOne) {
  PoolSample first{};
  PoolSample second{};
  PoolSample third{};
  first.leaks.add(leak(1 * kSecond, 81), origin("", "SELECT 1", StatementKind::kProbe));
  second.leaks.add(leak(1 * kSecond, 81), origin("", "SELECT 1", StatementKind::kProbe));
  third.leaks.add(leak(1 * kSecond, 82), origin("", "SELECT 2", StatementKind::kProbe));
  PoolSample sum{};
  for (const PoolSample* sample : {&first, &second, &third}) add_sample(&sum, *sample);
  EXPECT_EQ(sum.leaks.count, 3);
  EXPECT_EQ(sum.leaks.probes, 2);
  EXPECT_STREQ(sum.leaks.probe, "SELECT 1");
}

TEST(PoolSumTest, TheBlockerIsThatOfMost) {
  Blocker dbeaver{};
  dbeaver.kind = Blocker::Kind::kSession;
  dbeaver.session = SessionId{4711, wall_at(1 * kSecond)};
  Blocker job = dbeaver;
  job.session.pid = 17;
  PoolSample pools[3] = {pool(5, 0, 0), pool(5, 0, 0), pool(5, 0, 0)};
  Blocker same = dbeaver;
  pools[0].blocker = &dbeaver;
  pools[0].behind = 2;
  pools[1].blocker = &job;
  pools[1].behind = 1;
  pools[2].blocker = &same;
  pools[2].behind = 3;
  PoolSample sum{};
  for (const PoolSample& sample : pools) add_sample(&sum, sample);
  EXPECT_EQ(sum.blocker, &dbeaver);
  EXPECT_EQ(sum.behind, 5);
  pools[1].behind = 6;
  add_sample(&sum, pools[1]);
  EXPECT_EQ(sum.blocker, &job);
  EXPECT_EQ(sum.behind, 6);
}

// 60 pods with one connection each: none of them says much, together they leak.
TEST(PoolSumTest, PodsOfOneConnectionAreJudgedTogether) {
  constexpr PoolRules kRules{80, 300 * kSecond};
  FakeTime time;
  PoolState pod{};
  PoolState application{};
  for (int second = 0; second < 60; second++) {
    PoolSample sum{};
    sum.scope = PoolScope::kApplication;
    for (int i = 0; i < 60; i++) {
      PoolSample sample = i < 20 ? pool(0, 0, 1) : pool(0, 1, 0);
      sample.used = sample.counts.in_use();
      if (i < 20) {
        sample.counts.leaked = 1;
        sample.leaks.add(leak(1 * kSecond, 81), origin("/orders", "SELECT 42"));
      }
      add_sample(&sum, sample);
      if (i == 0) observe_pool(&pod, sample, kRules, time.now());
    }
    sum.used = sum.counts.in_use();
    observe_pool(&application, sum, kRules, time.now());
    time.pass(kSecond);
  }
  EXPECT_EQ(pod.verdict, Verdict::kLeak);
  EXPECT_EQ(application.verdict, Verdict::kLeaking);
  EXPECT_EQ(application.capacity, 60);
  EXPECT_EQ(application.leaks.count, 20);
}

}  // namespace
}  // namespace pgleak
