// Tests of core/pool_advice: the sentence for each verdict, word by word.
#include "core/pool_advice.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr WallTime kNow = wall_at(839'999'000 * kSecond);

AdviceFacts make_facts(const char* exhausted_at) {
  AdviceFacts facts{};
  facts.now = kNow;
  std::strcpy(facts.times.leaking_since, "10:02");
  std::strcpy(facts.times.working_since, "09:58");
  std::strcpy(facts.times.exhausted_at, exhausted_at);
  std::strcpy(facts.times.terminated_at, "12:03");
  facts.blocker.lock = "AccessShareLock on public.orders";
  facts.blocker.is_visible = true;
  return facts;
}

std::string advice(const PoolState& state, PoolScope scope = PoolScope::kPool,
                   const AdviceFacts& facts = make_facts("")) {
  char buffer[1024];
  TextBuffer text(buffer, sizeof(buffer));
  append_advice(&text, state, scope, facts);
  return text.c_str();
}

PoolState pool(Verdict verdict, int used, int leaked) {
  PoolState state{};
  state.verdict = verdict;
  state.capacity = 15;
  state.counts = PoolCounts{15, used - leaked, 15 - used, leaked, leaked, 0};
  state.used = state.used_of_capacity = used;
  state.mean_used = used;
  state.leaks.count = leaked;
  state.leaks.idle = leaked;
  state.pattern = leaked > 0 ? LeakPattern::kLost : LeakPattern::kNone;
  return state;
}

TEST(PoolAdviceTest, AHealthyPoolNeedsNone) { EXPECT_EQ(advice(pool(Verdict::kOk, 3, 0)), ""); }

TEST(PoolAdviceTest, ALeakingPoolIsNotToBeMadeLarger) {
  PoolState state = pool(Verdict::kLeaking, 15, 14);
  EXPECT_EQ(advice(state),
            "14 of 15 connections are idle in transaction since 10:02; see pgleak.leaks and fix the code "
            "that leaves them before raising the pool size");
  state.leaks.query_id = 81;
  EXPECT_EQ(advice(state),
            "14 of 15 connections are idle in transaction since 10:02, all last ran query 81; fix the code "
            "that runs it before raising the pool size");
  std::strcpy(state.leaks.statement, "SELECT\t1");
  EXPECT_EQ(
      advice(state),
      "14 of 15 connections are idle in transaction since 10:02, all last ran SELECT\\t1 (query 81); fix "
      "the code that runs it before raising the pool size");
  std::strcpy(state.leaks.route, "/orders\t");
  EXPECT_EQ(
      advice(state),
      "14 of 15 connections are idle in transaction since 10:02; fix the route /orders\\t before raising "
      "the pool size");
  state.leaks.route[0] = state.leaks.statement[0] = '\0';
  state.leaks.idle = 13;
  state.leaks.query_id = static_cast<std::uint64_t>(-5);
  EXPECT_EQ(
      advice(state),
      "14 of 15 connections are leaked since 10:02, all last ran query -5; fix the code that runs it before "
      "raising the pool size");
}

TEST(PoolAdviceTest, AForecastIsPartOfIt) {
  PoolState state = pool(Verdict::kLeaking, 8, 5);
  state.leaks_per_hour = 11.96;
  EXPECT_EQ(
      advice(state, PoolScope::kPool, make_facts("10:40")),
      "5 of 15 connections are idle in transaction since 10:02, at 12 more an hour nothing will be free "
      "at 10:40; see pgleak.leaks and fix the code that leaves them before raising the pool size");
  state.leaks_per_hour = 0.52;
  EXPECT_NE(advice(state, PoolScope::kPool, make_facts("10:40")).find(", at 0.5 more an hour"),
            std::string::npos);
  state.full_since = state.exhausted_at = WallTime{1};
  EXPECT_NE(advice(state, PoolScope::kPool, make_facts("10:40")).find(", nothing has been free since 10:40;"),
            std::string::npos);
}

TEST(PoolAdviceTest, ALeakInAPoolWithRoom) {
  PoolState state = pool(Verdict::kLeak, 8, 1);
  state.leaks.query_id = 81;
  EXPECT_EQ(advice(state),
            "1 of 15 connections is idle in transaction since 10:02, it last ran query 81; fix the code that "
            "runs it");
}

TEST(PoolAdviceTest, APoolThatWaitsForItself) {
  PoolState state = pool(Verdict::kLeaking, 15, 15);
  state.pattern = LeakPattern::kNested;
  EXPECT_EQ(
      advice(state),
      "15 of 15 connections have run nothing but BEGIN since 10:02, all within a second: each seems to "
      "wait for a second connection of the same pool; raise the pool size, or take no second connection "
      "within a transaction");
}

TEST(PoolAdviceTest, ATestQuery) {
  PoolState state = pool(Verdict::kLeak, 15, 13);
  state.pattern = LeakPattern::kProbe;
  std::strcpy(state.leaks.probe, "SELECT 1");
  EXPECT_EQ(
      advice(state),
      "13 of 15 connections are idle in transaction since 10:02 after the same SELECT 1, which reads no "
      "table: the pool's own test query seems to open a transaction when a connection is free; run it "
      "in autocommit mode, or roll back after it");
}

TEST(PoolAdviceTest, SlowRequests) {
  PoolState state = pool(Verdict::kLeak, 8, 3);
  state.pattern = LeakPattern::kSlow;
  LeakEnds ends{};
  for (int i = 0; i < 94; i++) ends.add(Outcome::kCommitted, kSecond);
  state.ends.record(ends, monotonic_at(kHour));
  std::strcpy(state.leaks.route, "/chart");
  EXPECT_EQ(advice(state),
            "3 of 15 connections are idle in transaction since 10:02; 94 of 94 earlier leaks committed: slow "
            "requests, not lost connections; shorten the transactions of the route /chart");
  state.verdict = Verdict::kUndersized;
  EXPECT_EQ(advice(state),
            "8 of 15 connections are in use, busy since 09:58; 94 of 94 earlier leaks committed: slow "
            "requests, not lost connections; shorten the transactions of the route /chart");
}

TEST(PoolAdviceTest, APoolThatIsTooSmall) {
  EXPECT_EQ(advice(pool(Verdict::kUndersized, 15, 0)),
            "15 of 15 connections are in use, busy since 09:58, none of them leaks; raise the pool size, or "
            "make its "
            "transactions shorter");
  EXPECT_EQ(advice(pool(Verdict::kUndersized, 14, 1)),
            "14 of 15 connections are in use, busy since 09:58, only 1 of them leaks; raise the pool size, "
            "or make its "
            "transactions shorter");
}

TEST(PoolAdviceTest, WorkOutsideOfTheDatabase) {
  PoolState state = pool(Verdict::kUndersized, 15, 0);
  state.mean_idle = 13.4;
  state.mean_idle_us = 700000;
  EXPECT_EQ(advice(state),
            "15 of 15 connections are in use, busy since 09:58, none of them leaks, but 13 are idle in "
            "transaction, for 0.7 s on average: the application works outside of the database within its "
            "transactions; shorten these before raising the pool size");
  state.mean_idle_us = 52000;
  EXPECT_NE(advice(state).find("for 0.05 s on average"), std::string::npos);
  state.mean_idle_us = 12.0 * 1000 * 1000;
  EXPECT_NE(advice(state).find("for 12 s on average"), std::string::npos);
  state.mean_idle = 7.4;
  EXPECT_NE(advice(state).find("raise the pool size, or"), std::string::npos);
}

TEST(PoolAdviceTest, AfterATerminate) {
  PoolState state = pool(Verdict::kOk, 3, 0);
  state.terminated.missing = 5;
  EXPECT_EQ(
      advice(state),
      "5 connections fewer since the terminate at 12:03; the application's pool still counts them as in "
      "use, unless it has noticed: give them back there, or replace the pool");
}

PoolState blocked(int waiting) {
  PoolState state = pool(Verdict::kBlocked, 15, 0);
  state.counts.waiting = waiting;
  PoolWaits& waits = state.waits;
  waits.behind = waiting;
  waits.since = monotonic_at(kHour);
  waits.seen_on = waits.since + kMinute;
  waits.blocker.kind = Blocker::Kind::kSession;
  waits.blocker.session.pid = 4711;
  waits.blocker.state = SessionState::kIdleInTransaction;
  waits.blocker.state_start = kNow - 12 * kMinute;
  waits.blocker.xact_start = kNow - 13 * kMinute;
  std::strcpy(waits.blocker.application_name, "DBeaver");
  return state;
}

TEST(PoolAdviceTest, ABlockedPool) {
  PoolState state = blocked(14);
  EXPECT_EQ(advice(state),
            "14 of 15 wait behind pid 4711 (DBeaver, idle in transaction for 12min, holds AccessShareLock on "
            "public.orders); cancel it: SELECT pgleak.cancel(4711)");
  AdviceFacts masked = make_facts("");
  masked.blocker.is_visible = false;
  EXPECT_EQ(advice(state, PoolScope::kPool, masked),
            "14 of 15 wait behind pid 4711 (DBeaver, holds AccessShareLock on public.orders); cancel it: "
            "SELECT pgleak.cancel(4711)");
  state.waits.blocker.state = SessionState::kActive;
  EXPECT_NE(advice(state).find("(DBeaver, active, its transaction is 13min old, holds"), std::string::npos);
  state.waits.behind = 9;
  EXPECT_NE(advice(state).find("14 of 15 wait for locks, 9 of them behind pid 4711"), std::string::npos);
  state.waits.blocker.is_own = true;
  EXPECT_NE(advice(state).find("pid 4711 (of the same pool, active"), std::string::npos);
}

TEST(PoolAdviceTest, ALockOutsideOfATransactionNeedsTheEndOfItsSession) {
  PoolState state = blocked(14);
  state.waits.blocker.state = SessionState::kIdle;
  state.waits.blocker.is_session_level = true;
  state.waits.blocker.state_start = kNow - 3 * kHour;
  AdviceFacts facts = make_facts("");
  facts.blocker.lock = "ExclusiveLock on advisory lock 77";
  EXPECT_EQ(
      advice(state, PoolScope::kPool, facts),
      "14 of 15 wait behind pid 4711 (DBeaver, idle for 3h, holds ExclusiveLock on advisory lock 77); end "
      "it: SELECT pgleak.terminate(4711)");
}

TEST(PoolAdviceTest, APreparedTransactionEndsWithAStatementToType) {
  PoolState state = blocked(15);
  state.waits.blocker = Blocker{};
  state.waits.blocker.kind = Blocker::Kind::kPreparedTransaction;
  state.waits.blocker.xid = 700;
  AdviceFacts facts = make_facts("");
  facts.blocker.gid = "it's";
  facts.blocker.database = "shop";
  EXPECT_EQ(
      advice(state, PoolScope::kPool, facts),
      "15 of 15 wait behind prepared transaction it's (holds AccessShareLock on public.orders); end it in "
      "database shop: ROLLBACK PREPARED 'it''s', or COMMIT PREPARED");
  facts.blocker.gid = nullptr;
  EXPECT_EQ(advice(state, PoolScope::kPool, facts),
            "15 of 15 wait behind prepared transaction 700 (holds AccessShareLock on public.orders); see "
            "pg_prepared_xacts");
}

TEST(PoolAdviceTest, WhereNobodyIsToBlame) {
  PoolState state = blocked(1);
  state.waits.blocker.kind = Blocker::Kind::kBackgroundProcess;
  EXPECT_NE(advice(state).find("1 of 15 waits behind pid 4711 (DBeaver, "), std::string::npos);
  EXPECT_NE(advice(state).find("; see pgleak.waits"), std::string::npos);
  state = blocked(14);
  state.waits.seen_on = state.waits.since + kSecond;
  EXPECT_EQ(advice(state),
            "14 of 15 wait for locks, for nobody in particular; shorten the transactions, see pgleak.waits");
}

TEST(PoolAdviceTest, ALeakingPoolThatWaitsToo) {
  PoolState state = blocked(10);
  state.verdict = Verdict::kLeaking;
  state.counts.leaked = state.leaks.count = state.leaks.idle = 5;
  state.pattern = LeakPattern::kLost;
  state.waits.crowded_on = monotonic_at(kHour);
  state.waits.observed_on = monotonic_at(2 * kHour);
  EXPECT_EQ(advice(state).find("5 of 15 connections are idle"), 0U);
  EXPECT_NE(advice(state).find("before raising the pool size; 10 of 15 wait behind pid 4711"),
            std::string::npos);
}

TEST(PoolAdviceTest, TheServer) {
  EXPECT_EQ(advice(pool(Verdict::kUndersized, 15, 0), PoolScope::kServer),
            "15 of 15 connections are taken, 0 of them idle, busy since 09:58, none of them leaks; make the "
            "applications' pools smaller, or raise max_connections");
  EXPECT_EQ(advice(pool(Verdict::kLeak, 8, 2), PoolScope::kServer),
            "2 of 15 connections are idle in transaction since 10:02; see pgleak.leaks and fix the code that "
            "leaves "
            "them");
}

TEST(PoolAdviceTest, SuspectsAreSaidToBeAGuess) {
  PoolState state = pool(Verdict::kOk, 3, 0);
  state.suspects.count = 2;
  EXPECT_EQ(advice(state),
            "2 idle connections were passed over when the pool opened newer ones: they may be checked out "
            "and forgotten "
            "outside of a transaction (a guess, not a leak)");
  state = pool(Verdict::kLeak, 3, 1);
  state.suspects.count = 1;
  EXPECT_NE(advice(state).find("that leaves them; 1 idle connection was passed over"), std::string::npos);
}

}  // namespace
}  // namespace pgleak
