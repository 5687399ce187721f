// Tests of core/limit_advice: what is suggested for pools of many kinds, that no suggestion reaches what a
// pool regularly does, and what is said where there is too little to go by.
#include "core/limit_advice.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace pgleak {
namespace {

constexpr Micros kMinute = 60 * kSecond;
constexpr Micros kHour = 60 * kMinute;
constexpr Micros kDay = 24 * kHour;

constexpr int kIdleLeak = limit_index(Clock::kIdle, LimitKind::kLeak);
constexpr int kIdleCancel = limit_index(Clock::kIdle, LimitKind::kCancel);
constexpr int kIdleTerminate = limit_index(Clock::kIdle, LimitKind::kTerminate);
constexpr int kTransactionLeak = limit_index(Clock::kTransaction, LimitKind::kLeak);
constexpr int kBlockingCancel = limit_index(Clock::kBlocking, LimitKind::kCancel);

void add(IdleTimes* times, Micros duration, std::uint64_t count = 1) {
  times->bins[idle_bin_of(duration)] += count;
  times->total += static_cast<std::int64_t>(count) * duration;
  if (duration > times->longest) times->longest = duration;
}

// A web application: `count` short times, the longest of which is `longest`.
IdleTimes web(std::uint64_t count, Micros longest) {
  IdleTimes times{};
  add(&times, 2 * kMillisecond, count);
  add(&times, longest / 2, 20);
  add(&times, longest, 20);
  return times;
}

LimitValues defaults() {
  LimitValues limits{};
  limits.value[kIdleLeak] = kMinute;
  limits.value[limit_index(Clock::kBlocking, LimitKind::kLeak)] = kMinute;
  return limits;
}

struct Advice {
  std::optional<Micros> limit;
  std::string reason;

  bool says(const char* text) const { return reason.find(text) != std::string::npos; }
};

Advice advise(int index, const std::vector<PoolIdleness>& pools, Micros watched_for = 7 * kDay,
              const LimitValues& current = defaults()) {
  char buffer[512];
  TextBuffer reason(buffer, sizeof(buffer));
  const IdlenessFacts facts{pools.data(), static_cast<int>(pools.size()), watched_for};
  const std::optional<Micros> limit = suggest_limit(index, facts, current, &reason);
  return Advice{limit, reason.c_str()};
}

std::string limit_text(Micros limit) {
  char buffer[32];
  TextBuffer text(buffer, sizeof(buffer));
  append_limit(&text, limit);
  return text.c_str();
}

TEST(DescribeIdlenessTest, AnOrdinaryPoolHasNoExceptions) {
  const PoolIdleness pool = describe_idleness("shop", web(10000, kSecond));
  EXPECT_EQ(pool.count, 10040U);
  EXPECT_EQ(pool.exceptions, 0U);
  EXPECT_EQ(pool.regular, kSecond);
  EXPECT_EQ(pool.longest, kSecond);
}

TEST(DescribeIdlenessTest, AFewMuchLongerTimesStandApart) {
  IdleTimes times = web(10000, kSecond);
  add(&times, 40 * kMinute, 2);
  const PoolIdleness pool = describe_idleness("shop", times);
  EXPECT_EQ(pool.exceptions, 2U);
  EXPECT_EQ(pool.longest, 40 * kMinute);
  EXPECT_GE(pool.regular, kSecond);
  EXPECT_LT(pool.regular, 2 * kSecond);
}

TEST(DescribeIdlenessTest, ManyMuchLongerTimesAreRegular) {
  IdleTimes times = web(10000, kSecond);
  add(&times, 40 * kMinute, 4);
  const PoolIdleness pool = describe_idleness("shop", times);
  EXPECT_EQ(pool.exceptions, 0U);
  EXPECT_EQ(pool.regular, 40 * kMinute);
}

TEST(DescribeIdlenessTest, ATailThatThinsOutIsRegular) {
  IdleTimes times = web(10000, kSecond);
  add(&times, 3 * kSecond);
  EXPECT_EQ(describe_idleness("shop", times).regular, 3 * kSecond);
}

TEST(DescribeIdlenessTest, WhatALimitForEverybodyCoversIsRegular) {
  IdleTimes times = web(10000, kMillisecond);
  add(&times, 19 * kSecond);
  EXPECT_EQ(describe_idleness("shop", times).regular, 19 * kSecond);
  add(&times, 21 * kSecond);
  EXPECT_EQ(describe_idleness("shop", times).exceptions, 2U);
}

TEST(DescribeIdlenessTest, FewTimesAreAllRegular) {
  IdleTimes times{};
  add(&times, kSecond, 20);
  add(&times, kHour);
  EXPECT_EQ(describe_idleness("psql", times).regular, kHour);
}

TEST(SuggestLimitTest, AFewTimesAreTooFew) {
  IdleTimes times{};
  add(&times, kSecond, 12);
  for (int index = 0; index < kLimitCount; index++) {
    const Advice advice = advise(index, {describe_idleness("shop", times)}, 4 * kMinute);
    EXPECT_EQ(advice.limit, std::nullopt);
    EXPECT_EQ(advice.reason,
              "only 12 idle times were seen in 4min, too few to choose from: come back after 100");
  }
  EXPECT_TRUE(advise(kIdleLeak, {}).says("only 0 idle times were seen in 168h"));
}

TEST(SuggestLimitTest, AWebApplicationGetsAFewTimesItsLongest) {
  const Advice leak = advise(kIdleLeak, {describe_idleness("shop", web(10000, 4 * kSecond))});
  EXPECT_EQ(leak.limit, 15 * kSecond);
  EXPECT_EQ(leak.reason, "the longest regular one of 10040 idle times in 1 pool was 4s, in \"shop\"");
}

TEST(SuggestLimitTest, ShortTimesDoNotMakeShortLimits) {
  const std::vector<PoolIdleness> pools{describe_idleness("shop", web(10000, 20 * kMillisecond))};
  EXPECT_EQ(advise(kIdleLeak, pools).limit, 5 * kSecond);
  EXPECT_EQ(advise(kIdleCancel, pools).limit, 30 * kSecond);
  EXPECT_EQ(advise(kIdleTerminate, pools).limit, 5 * kMinute);
}

TEST(SuggestLimitTest, TheSlowestOfThePoolsDecides) {
  const Advice leak = advise(kIdleLeak, {describe_idleness("shop", web(10000, 200 * kMillisecond)),
                                         describe_idleness("admin", web(500, 9 * kSecond))});
  EXPECT_EQ(leak.limit, 30 * kSecond);
  EXPECT_TRUE(leak.says("in 2 pools was 9s, in \"admin\"")) << leak.reason;
}

TEST(SuggestLimitTest, APoolThatIsIdleForLongGetsARule) {
  const std::vector<PoolIdleness> pools{describe_idleness("shop", web(10000, kSecond)),
                                        describe_idleness("etl", web(500, 14 * kMinute)),
                                        describe_idleness("report", web(500, 2 * kMinute))};
  const Advice leak = advise(kIdleLeak, pools);
  EXPECT_EQ(leak.limit, 5 * kSecond);
  EXPECT_TRUE(
      leak.says("\"etl\" is regularly idle for up to 14min, and 1 other pool is like it: give it a rule"))
      << leak.reason;
  for (const int index : {kIdleCancel, kIdleTerminate}) {
    const Advice action = advise(index, pools);
    EXPECT_EQ(action.limit, std::nullopt) << "it would end what etl regularly does";
    EXPECT_TRUE(action.says("give it a rule first, then ")) << action.reason;
  }
  EXPECT_TRUE(advise(kIdleCancel, pools).says("30s suits the others"));
}

TEST(SuggestLimitTest, APoolWithARuleNoLongerMatters) {
  std::vector<PoolIdleness> pools{describe_idleness("shop", web(10000, kSecond)),
                                  describe_idleness("etl", web(500, 14 * kMinute))};
  LimitValues rule{};
  for (Micros& value : rule.value) value = kNotSet;
  rule.value[kIdleLeak] = 30 * kMinute;
  note_exemption(&pools[1], rule);
  EXPECT_EQ(advise(kIdleLeak, pools).limit, 5 * kSecond);
  EXPECT_FALSE(advise(kIdleLeak, pools).says("etl"));
  EXPECT_EQ(advise(kIdleCancel, pools).limit, 30 * kSecond) << "not due before the rule's leak limit";
  EXPECT_EQ(advise(kIdleTerminate, pools).limit, 5 * kMinute);
  EXPECT_FALSE(pools[1].is_exempt[kTransactionLeak]);
}

TEST(SuggestLimitTest, ARuleWhoseLimitThePoolReachesKeepsNoActionAway) {
  std::vector<PoolIdleness> pools{describe_idleness("shop", web(10000, kSecond)),
                                  describe_idleness("etl", web(500, 14 * kMinute))};
  LimitValues rule{};
  for (Micros& value : rule.value) value = kNotSet;
  rule.value[kIdleLeak] = 5 * kMinute;
  note_exemption(&pools[1], rule);
  EXPECT_EQ(advise(kIdleCancel, pools).limit, std::nullopt);
}

TEST(SuggestLimitTest, IfAllHaveRulesThereIsNothingToChoose) {
  std::vector<PoolIdleness> pools{describe_idleness("etl", web(500, 14 * kMinute))};
  LimitValues rule{};
  for (Micros& value : rule.value) value = kNever;
  note_exemption(&pools[0], rule);
  EXPECT_EQ(advise(kIdleLeak, pools).limit, std::nullopt);
  EXPECT_TRUE(advise(kIdleLeak, pools).says("keep this limit away from all pools"));
}

TEST(SuggestLimitTest, IfAllAreIdleForLongThatIsHowTheServerIsUsed) {
  const Advice leak = advise(kIdleLeak, {describe_idleness("etl", web(500, 14 * kMinute)),
                                         describe_idleness("report", web(500, 2 * kMinute))});
  EXPECT_EQ(leak.limit, 45 * kMinute);
  EXPECT_FALSE(leak.says("rule"));
}

TEST(SuggestLimitTest, ExceptionsAreReportedAsLeaksAndHoldActionsBack) {
  IdleTimes times = web(100000, kSecond);
  add(&times, 40 * kMinute, 2);
  const std::vector<PoolIdleness> pools{describe_idleness("shop", times)};
  const Advice leak = advise(kIdleLeak, pools);
  EXPECT_EQ(leak.limit, 5 * kSecond);
  EXPECT_TRUE(leak.says("; 2 of up to 40min in \"shop\" stand apart")) << leak.reason;
  const Advice cancel = advise(kIdleCancel, pools);
  EXPECT_EQ(cancel.limit, std::nullopt);
  EXPECT_TRUE(cancel.says("find out in pgleak.history")) << cancel.reason;
}

TEST(SuggestLimitTest, ActionsNeedADay) {
  const std::vector<PoolIdleness> pools{describe_idleness("shop", web(10000, kSecond))};
  EXPECT_EQ(advise(kIdleLeak, pools, 4 * kMinute).limit, 5 * kSecond);
  const Advice cancel = advise(kIdleCancel, pools, 4 * kMinute);
  EXPECT_EQ(cancel.limit, std::nullopt);
  EXPECT_TRUE(cancel.says("idle times were counted for 4min only")) << cancel.reason;
  EXPECT_TRUE(advise(kIdleCancel, pools, kDay).limit.has_value());
}

TEST(SuggestLimitTest, OtherClocksAreJudgedOnlyWhereTheyAreTooShort) {
  const std::vector<PoolIdleness> pools{describe_idleness("admin", web(10000, 9 * kSecond))};
  for (const int index : {kTransactionLeak, kBlockingCancel}) {
    EXPECT_EQ(advise(index, pools).limit, std::nullopt);
    EXPECT_TRUE(advise(index, pools).says("idle times do not tell")) << advise(index, pools).reason;
    LimitValues short_limits = defaults();
    short_limits.value[index] = 10 * kSecond;
    EXPECT_EQ(advise(index, pools, kDay, short_limits).limit, 30 * kSecond);
    short_limits.value[index] = kMinute;
    EXPECT_EQ(advise(index, pools, kDay, short_limits).limit, std::nullopt);
  }
}

TEST(SuggestLimitTest, NamesAreQuotedAndEscaped) {
  const Advice leak = advise(kIdleLeak, {describe_idleness("a\"b\nc", web(1000, kSecond))});
  EXPECT_TRUE(leak.says("in \"a\\\"b\\nc\"")) << leak.reason;
  EXPECT_TRUE(advise(kIdleLeak, {describe_idleness("", web(1000, kSecond))})
                  .says("the sessions without application_name"));
}

TEST(AppendLimitTest, IsWhatASettingTakes) {
  EXPECT_EQ(limit_text(kNever), "0");
  EXPECT_EQ(limit_text(1500 * kMillisecond), "1500ms");
  EXPECT_EQ(limit_text(90 * kSecond), "90s");
  EXPECT_EQ(limit_text(kMinute), "1min");
  EXPECT_EQ(limit_text(90 * kMinute), "90min");
  EXPECT_EQ(limit_text(12 * kHour), "12h");
  EXPECT_EQ(limit_text(3 * kDay), "3d");
}

// Whatever pools there are: a suggested action reaches no time that has ended, and a suggested leak limit no
// regular one of a pool that the reason does not name.
TEST(SuggestLimitTest, NoSuggestionReachesWhatAPoolRegularlyDoes) {
  std::mt19937_64 random(2026);
  const auto uniform = [&random](double from, double to) {
    return std::uniform_real_distribution<double>(from, to)(random);
  };
  int suggested = 0;
  for (int round = 0; round < 3000; round++) {
    std::vector<IdleTimes> times(1 + random() % 6);
    std::vector<PoolIdleness> pools;
    for (IdleTimes& pool : times) {
      const double center = uniform(5, 20);  // 150 us to 8 min
      const double width = uniform(0.1, 2.5);
      const int count = static_cast<int>(std::exp(uniform(0, 8)));
      for (int i = 0; i < count; i++)
        add(&pool, Micros{1 + static_cast<std::int64_t>(
                                  std::lognormal_distribution<double>(center, width)(random))});
      if (random() % 4 == 0) add(&pool, Micros{static_cast<std::int64_t>(std::exp(uniform(10, 24)))});
      pools.push_back(describe_idleness("pool", pool));
    }
    const Advice leak = advise(kIdleLeak, pools);
    const Advice cancel = advise(kIdleCancel, pools);
    const Advice terminate = advise(kIdleTerminate, pools);
    ASSERT_FALSE(leak.reason.empty());
    ASSERT_FALSE(cancel.reason.empty());
    for (const PoolIdleness& pool : pools) {
      if (leak.limit && !leak.says("is regularly idle")) {
        ASSERT_GE(*leak.limit, 2 * pool.regular) << leak.reason;
      }
      if (cancel.limit) {
        ASSERT_GE(*cancel.limit, kActionFactor * pool.longest) << cancel.reason;
        ASSERT_GE(*cancel.limit, *leak.limit);
        ASSERT_GE(*terminate.limit, *cancel.limit);
      }
    }
    suggested += cancel.limit.has_value();
  }
  EXPECT_GT(suggested, 100);
}

}  // namespace
}  // namespace pgleak
