// Tests of core/pool_advice: the sentence for each verdict, word by word.
#include "core/pool_advice.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr AdviceTimes kTimes{"10:02", "09:58", "10:40"};
constexpr AdviceTimes kNoForecast{"10:02", "09:58", ""};

std::string advice(const PoolState& state, PoolScope scope = PoolScope::kPool,
                   const AdviceTimes& times = kNoForecast) {
  char buffer[512];
  TextBuffer text(buffer, sizeof(buffer));
  append_advice(&text, state, scope, times);
  return text.c_str();
}

PoolState pool(Verdict verdict, int used, int leaked) {
  PoolState state{};
  state.verdict = verdict;
  state.capacity = 15;
  state.counts = PoolCounts{15, used - leaked, 15 - used, leaked, leaked};
  state.used = state.used_of_capacity = used;
  state.leaks.count = leaked;
  state.leaks.idle = leaked;
  return state;
}

TEST(PoolAdviceTest, AHealthyPoolNeedsNone) { EXPECT_EQ(advice(pool(Verdict::kOk, 3, 0)), ""); }

TEST(PoolAdviceTest, ALeakingPoolIsNotToBeMadeLarger) {
  PoolState state = pool(Verdict::kLeaking, 15, 14);
  EXPECT_EQ(advice(state),
            "14 of 15 connections are idle in transaction since 10:02; see pgleak.leaks and fix the code "
            "that leaves "
            "them before raising the pool size");
  state.leaks.query_id = 81;
  EXPECT_EQ(advice(state),
            "14 of 15 connections are idle in transaction since 10:02, all last ran query 81; fix the code "
            "that runs it "
            "before raising the pool size");
  std::strcpy(state.leaks.route, "/orders\t");
  EXPECT_EQ(advice(state),
            "14 of 15 connections are idle in transaction since 10:02, all last ran query 81; fix the route "
            "/orders\\t "
            "before raising the pool size");
  state.leaks.route[0] = '\0';
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
      advice(state, PoolScope::kPool, kTimes),
      "5 of 15 connections are idle in transaction since 10:02, at 12 more an hour nothing will be free "
      "at 10:40; see pgleak.leaks and fix the code that leaves them before raising the pool size");
  state.leaks_per_hour = 0.52;
  EXPECT_NE(advice(state, PoolScope::kPool, kTimes).find(", at 0.5 more an hour"), std::string::npos);
  state.full_since = WallTime{1};
  EXPECT_NE(advice(state, PoolScope::kPool, kTimes).find(", nothing has been free since 10:40;"),
            std::string::npos);
}

TEST(PoolAdviceTest, ALeakInAPoolWithRoom) {
  PoolState state = pool(Verdict::kLeak, 8, 1);
  state.leaks.query_id = 81;
  EXPECT_EQ(advice(state),
            "1 of 15 connections is idle in transaction since 10:02, its last statement was query 81; fix "
            "the code that "
            "runs it");
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
