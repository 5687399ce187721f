// Tests of core/limits: which value of a limit wins, and when a limit takes effect.
#include "core/limits.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr Clock kClocks[] = {Clock::kIdle, Clock::kTransaction, Clock::kBlocking};
constexpr LimitKind kKinds[] = {LimitKind::kLeak, LimitKind::kCancel, LimitKind::kTerminate};

// The limits of one clock: leak, cancel, terminate.
Limits limits_on(Clock clock, Micros leak, Micros cancel, Micros terminate) {
  LimitValues values = all_off();
  values = with(values, clock, LimitKind::kLeak, leak);
  values = with(values, clock, LimitKind::kCancel, cancel);
  values = with(values, clock, LimitKind::kTerminate, terminate);
  return resolve_limits(nothing_set(), values);
}

TEST(LimitIndexTest, EveryLimitHasAPlaceOfItsOwn) {
  std::set<int> places;
  for (const Clock clock : kClocks) {
    for (const LimitKind kind : kKinds) places.insert(limit_index(clock, kind));
  }
  EXPECT_EQ(places.size(), static_cast<std::size_t>(kLimitCount));
  EXPECT_EQ(*places.begin(), 0);
  EXPECT_EQ(*places.rbegin(), kLimitCount - 1);
}

TEST(ResolveLimitsTest, WhatTheSessionDoesNotSayTheServerSays) {
  LimitValues server;
  for (int i = 0; i < kLimitCount; i++) server.value[i] = (i + 1) * kSecond;

  const Limits limits = resolve_limits(nothing_set(), server);
  for (int i = 0; i < kLimitCount; i++) {
    EXPECT_EQ(limits.value[i], (i + 1) * kSecond) << i;
    EXPECT_EQ(limits.source[i], LimitSource::kServer) << i;
  }
}

TEST(ResolveLimitsTest, TheSessionsOwnValueWinsLimitByLimit) {
  for (int own_one = 0; own_one < kLimitCount; own_one++) {
    SCOPED_TRACE(own_one);
    LimitValues own = nothing_set();
    own.value[own_one] = 7 * kMinute;
    LimitValues server = all_off();
    for (Micros& value : server.value) value = kSecond;

    const Limits limits = resolve_limits(own, server);
    for (int i = 0; i < kLimitCount; i++) {
      EXPECT_EQ(limits.value[i], i == own_one ? 7 * kMinute : kSecond) << i;
      EXPECT_EQ(limits.source[i], i == own_one ? LimitSource::kSession : LimitSource::kServer) << i;
    }
  }
}

TEST(ResolveLimitsTest, NeverIsAValueThatASessionMayHave) {
  const LimitValues own = with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kNever);
  const LimitValues server = with(all_off(), Clock::kIdle, LimitKind::kLeak, kMinute);

  const Limits limits = resolve_limits(own, server);
  EXPECT_EQ(limits.after(Clock::kIdle, LimitKind::kLeak), kNever);
  EXPECT_EQ(limits.leak_source(Clock::kIdle), LimitSource::kSession);
}

TEST(ResolveLimitsTest, ASessionMayWantALimitThatTheServerHasOff) {
  const LimitValues own = with(nothing_set(), Clock::kTransaction, LimitKind::kLeak, kMinute);

  const Limits limits = resolve_limits(own, all_off());
  EXPECT_EQ(limits.after(Clock::kTransaction, LimitKind::kLeak), kMinute);
}

TEST(ResolveLimitsTest, TheSourceOfALeakIsToldForEachClock) {
  const LimitValues own = with(nothing_set(), Clock::kTransaction, LimitKind::kLeak, kMinute);
  const Limits limits = resolve_limits(own, all_off());
  EXPECT_EQ(limits.leak_source(Clock::kIdle), LimitSource::kServer);
  EXPECT_EQ(limits.leak_source(Clock::kTransaction), LimitSource::kSession);
}

struct AfterCase {
  const char* meaning;
  int leak, cancel, terminate;                    // as set, in microseconds
  int leak_after, cancel_after, terminate_after;  // as they take effect
};

const AfterCase kAfterCases[] = {
    {"nothing set, nothing happens", 0, 0, 0, 0, 0, 0},
    {"out of the box: only the leak", 60, 0, 0, 60, 0, 0},
    {"in order, each at its time", 60, 120, 180, 60, 120, 180},
    {"terminate without cancel", 60, 0, 180, 60, 0, 180},
    {"cancel without terminate", 60, 120, 0, 60, 120, 0},
    {"all at once", 60, 60, 60, 60, 60, 60},
    {"an action before the leak waits for the leak", 60, 10, 20, 60, 60, 60},
    {"one action before the leak, one after", 60, 10, 180, 60, 60, 180},
    {"terminate may come before cancel", 60, 180, 120, 60, 180, 120},
    {"no leak limit: the clock acts on nobody", 0, 120, 180, 0, 0, 0},
    {"a leak limit of a microsecond is a limit", 1, 0, 0, 1, 0, 0},
};

TEST(AfterTest, ActionsBelongToALeak) {
  for (const AfterCase& c : kAfterCases) {
    for (const Clock clock : kClocks) {
      SCOPED_TRACE(c.meaning);
      SCOPED_TRACE(to_string(clock));
      const Limits limits = limits_on(clock, Micros{c.leak}, Micros{c.cancel}, Micros{c.terminate});
      EXPECT_EQ(limits.after(clock, LimitKind::kLeak), Micros{c.leak_after});
      EXPECT_EQ(limits.after(clock, LimitKind::kCancel), Micros{c.cancel_after});
      EXPECT_EQ(limits.after(clock, LimitKind::kTerminate), Micros{c.terminate_after});
    }
  }
}

TEST(AfterTest, TheClocksKnowNothingOfEachOther) {
  const Limits limits = limits_on(Clock::kIdle, 60_us, 120_us, 180_us);
  for (const LimitKind kind : kKinds) EXPECT_EQ(limits.after(Clock::kTransaction, kind), kNever);
}

TEST(AfterTest, ASessionThatLengthensItsLeakLimitPostponesTheServersActionsToo) {
  LimitValues server = with(all_off(), Clock::kIdle, LimitKind::kLeak, kMinute);
  server = with(server, Clock::kIdle, LimitKind::kCancel, 2 * kMinute);
  const LimitValues own = with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kHour);

  const Limits limits = resolve_limits(own, server);
  EXPECT_EQ(limits.after(Clock::kIdle, LimitKind::kCancel), kHour);
}

TEST(AfterTest, ASessionThatSwitchesItsLeakLimitOffIsSafeFromTheServersActions) {
  LimitValues server = with(all_off(), Clock::kIdle, LimitKind::kLeak, kMinute);
  server = with(server, Clock::kIdle, LimitKind::kTerminate, 2 * kMinute);
  const LimitValues own = with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kNever);

  const Limits limits = resolve_limits(own, server);
  for (const LimitKind kind : kKinds) EXPECT_EQ(limits.after(Clock::kIdle, kind), kNever);
}

TEST(UsesTransactionClockTest, OnlyALeakLimitOnItNeedsIt) {
  EXPECT_FALSE(uses_transaction_clock(all_off()));
  EXPECT_FALSE(uses_transaction_clock(nothing_set()));
  EXPECT_FALSE(uses_transaction_clock(with(all_off(), Clock::kIdle, LimitKind::kLeak, kMinute)));
  EXPECT_FALSE(uses_transaction_clock(with(all_off(), Clock::kTransaction, LimitKind::kCancel, kMinute)))
      << "without a leak limit there is no action either";
  EXPECT_TRUE(uses_transaction_clock(with(all_off(), Clock::kTransaction, LimitKind::kLeak, kMinute)));
  EXPECT_TRUE(uses_transaction_clock(with(nothing_set(), Clock::kTransaction, LimitKind::kLeak, 1_us)));
}

TEST(LimitNamesTest, AreTheOnesInTheDocumentation) {
  EXPECT_STREQ(to_string(Clock::kIdle), "idle");
  EXPECT_STREQ(to_string(Clock::kTransaction), "transaction");
  EXPECT_STREQ(name_of(LimitSource::kServer, 0).text, "server");
  EXPECT_STREQ(name_of(LimitSource::kRule, 3).text, "rule 3");
  EXPECT_STREQ(name_of(LimitSource::kRule, INT32_MIN).text, "rule -2147483648");
  EXPECT_STREQ(name_of(LimitSource::kSession, 3).text, "session");
  EXPECT_STREQ(name_of(LimitSource::kManual, 0).text, "by hand");
}

}  // namespace
}  // namespace pgleak
