// Tests of core/action: which action is due when, what is left alone, and how often anything may be done.
#include "core/action.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "samples.hpp"

namespace pgleak {
namespace {

Ages ages(std::optional<Micros> idle, Micros transaction) { return Ages{idle, transaction, std::nullopt}; }

Limits limits_of(Micros idle_leak, Micros idle_cancel, Micros idle_terminate,
                 Micros transaction_leak = kNever, Micros transaction_cancel = kNever,
                 Micros transaction_terminate = kNever) {
  const LimitValues server{
      {idle_leak, idle_cancel, idle_terminate, transaction_leak, transaction_cancel, transaction_terminate}};
  const LimitValues own{{kNotSet, kNotSet, kNotSet, kNotSet, kNotSet, kNotSet}};
  return resolve_limits(own, server);
}

const SampleOf kIdleLeak = idle_in_transaction(wall_at(kSecond), wall_at(2 * kSecond), 5);

TEST(PlanActionTest, NothingIsDueWithoutLimitsOfActions) {
  const Plan plan = plan_action(ages(kHour, kHour), limits_of(kSecond, kNever, kNever), kIdleLeak, false);
  EXPECT_EQ(plan.due, Action::kNone);
  EXPECT_EQ(plan.next, Action::kNone);
  EXPECT_EQ(plan.next_in, kForever);
}

TEST(PlanActionTest, AnActionIsDueExactlyAtItsLimit) {
  const Limits limits = limits_of(kSecond, 3 * kSecond, kNever);
  const Plan before = plan_action(ages(3 * kSecond - 1_us, kHour), limits, kIdleLeak, false);
  EXPECT_EQ(before.due, Action::kNone);
  EXPECT_EQ(before.next, Action::kCancel);
  EXPECT_EQ(before.next_in, 1_us);
  EXPECT_EQ(plan_action(ages(3 * kSecond, kHour), limits, kIdleLeak, false).due, Action::kCancel);
}

TEST(PlanActionTest, AnActionShorterThanItsLeakWaitsForTheLeak) {
  const Limits limits = limits_of(5 * kSecond, kSecond, kNever);
  EXPECT_EQ(plan_action(ages(4 * kSecond, kHour), limits, kIdleLeak, false).due, Action::kNone);
  EXPECT_EQ(plan_action(ages(5 * kSecond, kHour), limits, kIdleLeak, false).due, Action::kCancel);
}

TEST(PlanActionTest, AClockWithoutLeakLimitActsOnNobody) {
  const Limits limits = limits_of(kNever, kSecond, kSecond, kNever, kSecond, kSecond);
  EXPECT_EQ(plan_action(ages(kHour, kHour), limits, kIdleLeak, false).due, Action::kNone);
}

TEST(PlanActionTest, TheSeverestDueActionWins) {
  const Limits limits = limits_of(kSecond, 2 * kSecond, 3 * kSecond);
  EXPECT_EQ(plan_action(ages(3 * kSecond, kHour), limits, kIdleLeak, false).due, Action::kTerminate);
}

TEST(PlanActionTest, BothClocksCount) {
  const Limits limits = limits_of(kSecond, kNever, kNever, kSecond, kMinute, kNever);
  EXPECT_EQ(plan_action(ages(kSecond, kMinute), limits, kIdleLeak, false).due, Action::kCancel);
  EXPECT_EQ(plan_action(ages(std::nullopt, kMinute), limits, kIdleLeak, false).due, Action::kCancel);
  EXPECT_EQ(plan_action(ages(kHour, kMinute - 1_us), limits, kIdleLeak, false).due, Action::kNone);
}

TEST(PlanActionTest, APlainAbortedBlockIsTerminatedButNeverCancelled) {
  const SampleOf aborted = plain_aborted(wall_at(kSecond), wall_at(2 * kSecond), 5);
  EXPECT_EQ(plan_action(ages(kHour, kHour), limits_of(kSecond, kSecond, kNever), aborted, false).due,
            Action::kNone);
  EXPECT_EQ(plan_action(ages(kHour, kHour), limits_of(kSecond, kSecond, kMinute), aborted, false).due,
            Action::kTerminate);
}

TEST(PlanActionTest, AbortedInsideASavepointCanBeCancelledBecauseItHoldsItsLocks) {
  SampleOf aborted = kIdleLeak;
  aborted.state = SessionState::kIdleInTransactionAborted;
  EXPECT_EQ(plan_action(ages(kHour, kHour), limits_of(kSecond, kMinute, kNever), aborted, false).due,
            Action::kCancel);
}

TEST(PlanActionTest, WhatWasCancelledInPlaceMayStillBeTerminated) {
  const SampleOf parked = plain_aborted(wall_at(kSecond), wall_at(2 * kSecond), 5);
  const Limits limits = limits_of(kSecond, kMinute, kHour);
  const Plan plan = plan_action(ages(kMinute, kMinute), limits, parked, false);
  EXPECT_EQ(plan.due, Action::kNone);
  EXPECT_EQ(plan.next, Action::kTerminate);
  EXPECT_EQ(plan.next_in, kHour - kMinute);
  EXPECT_EQ(plan_action(ages(kHour, kHour), limits, parked, false).due, Action::kTerminate);
}

TEST(PlanActionTest, AStatementInAnAbortedBlockIsNotCancelled) {
  SampleOf failing = plain_aborted(wall_at(kSecond), wall_at(2 * kSecond), 5);
  failing.state = SessionState::kActive;
  EXPECT_EQ(plan_action(ages(std::nullopt, kHour), limits_of(kSecond, kMinute, kNever, kSecond, kMinute),
                        failing, false)
                .due,
            Action::kNone);
}

TEST(RetryPauseTest, GrowsAndStaysBounded) {
  for (const ActionResult result : {ActionResult::kSkipped, ActionResult::kUnsafe, ActionResult::kNoEffect,
                                    ActionResult::kNoEffectOnClientWait}) {
    const Micros longest = had_no_effect(result) ? kMinute : 30 * kSecond;
    Micros last{0};
    for (int failures = 1; failures <= 255; failures++) {
      const Micros pause = retry_pause(result, static_cast<std::uint8_t>(failures));
      EXPECT_GE(pause, last);
      EXPECT_GT(pause, 0_us);
      EXPECT_LE(pause, longest);
      last = pause;
    }
    EXPECT_EQ(last, longest);
  }
}

TEST(RetryPauseTest, NoEffectWaitsASecondAtFirstAndTwiceAsLongEachTime) {
  Micros pause = kSecond;
  for (std::uint8_t failures = 1; failures <= 6; failures++) {
    EXPECT_EQ(retry_pause(ActionResult::kNoEffect, failures), pause);
    EXPECT_EQ(retry_pause(ActionResult::kNoEffectOnClientWait, failures), pause);
    pause *= 2;
  }
  EXPECT_EQ(retry_pause(ActionResult::kNoEffect, 7), kMinute);
  EXPECT_EQ(retry_pause(ActionResult::kUnsafe, 1), 50 * kMillisecond);
}

TEST(ActionResultTest, WhatLeftTheSessionAsItWasHasFailed) {
  for (const ActionResult result : {ActionResult::kSkipped, ActionResult::kUnsafe, ActionResult::kNoEffect,
                                    ActionResult::kNoEffectOnClientWait})
    EXPECT_TRUE(has_failed(result)) << to_string(result);
  for (const ActionResult result : {ActionResult::kNone, ActionResult::kRequested, ActionResult::kDone,
                                    ActionResult::kDryRun, ActionResult::kStandby})
    EXPECT_FALSE(has_failed(result));
  EXPECT_FALSE(had_no_effect(ActionResult::kSkipped));
  EXPECT_FALSE(had_no_effect(ActionResult::kUnsafe));
}

TEST(RateLimiterTest, LetsThroughAsManyAsAllowedThenSaysItOnceAndClosesForAMinute) {
  RateLimiter limiter{};
  MonotonicTime now = monotonic_at(1000 * kSecond);
  for (int i = 0; i < 30; i++) EXPECT_EQ(limiter.ask(30, now), RateLimiter::Answer::kYes);
  EXPECT_EQ(limiter.ask(30, now), RateLimiter::Answer::kNoAndSayIt);
  EXPECT_EQ(limiter.ask(30, now), RateLimiter::Answer::kNo);
  now += kMinute - 1_us;
  EXPECT_EQ(limiter.ask(30, now), RateLimiter::Answer::kNo);
  now += 1_us;
  EXPECT_EQ(limiter.ask(30, now), RateLimiter::Answer::kYes);
}

TEST(RateLimiterTest, OpensAgainWithItsWholeAllowance) {
  RateLimiter limiter{};
  MonotonicTime now = monotonic_at(1000 * kSecond);
  for (int i = 0; i < 4; i++) limiter.ask(3, now);
  now += kMinute;
  for (int i = 0; i < 3; i++) EXPECT_EQ(limiter.ask(3, now), RateLimiter::Answer::kYes);
  EXPECT_EQ(limiter.ask(3, now), RateLimiter::Answer::kNoAndSayIt);
}

TEST(RateLimiterTest, SlowActionsAreNeverStopped) {
  RateLimiter limiter{};
  MonotonicTime now = monotonic_at(1000 * kSecond);
  for (int i = 0; i < 500; i++) {
    EXPECT_EQ(limiter.ask(2, now), RateLimiter::Answer::kYes) << i;
    now += kMinute / 2;
  }
}

TEST(RateLimiterTest, ARaisedLimitEndsThePause) {
  RateLimiter limiter{};
  const MonotonicTime now = monotonic_at(1000 * kSecond);
  for (int i = 0; i < 3; i++) limiter.ask(2, now);
  EXPECT_TRUE(limiter.is_closed(2, now));
  EXPECT_EQ(limiter.ask(2, now), RateLimiter::Answer::kNo);
  EXPECT_FALSE(limiter.is_closed(4, now));
  EXPECT_EQ(limiter.ask(4, now), RateLimiter::Answer::kYes);
  EXPECT_EQ(limiter.ask(4, now), RateLimiter::Answer::kYes);
}

TEST(RateLimiterTest, AChangedLimitStartsANewMinute) {
  RateLimiter limiter{};
  const MonotonicTime now = monotonic_at(1000 * kSecond);
  for (int i = 0; i < 10; i++) limiter.ask(30, now);
  for (int i = 0; i < 5; i++) EXPECT_EQ(limiter.ask(5, now), RateLimiter::Answer::kYes);
  EXPECT_EQ(limiter.ask(5, now), RateLimiter::Answer::kNoAndSayIt);
  EXPECT_EQ(limiter.ask(0, now), RateLimiter::Answer::kNoAndSayIt);
}

TEST(ActionHoldTest, IsNamedAsInTheView) {
  const std::pair<ActionHold, const char*> cases[] = {
      {{HoldReason::kNone, Impact::kNone, 0, {}}, ""},
      {{HoldReason::kSuperuser, Impact::kNone, 0, {}}, "superuser"},
      {{HoldReason::kDeclared, Impact::kNone, 0, {}}, "declared idle on purpose"},
      {{HoldReason::kStandby, Impact::kNone, 0, {}}, "synchronous standby"},
      {{HoldReason::kWaitsBehind, Impact::kNone, 4711, {}}, "waits behind pid 4711"},
      {{HoldReason::kWaitsBehind, Impact::kNone, 0, {}}, "waits behind a prepared transaction"},
      {{HoldReason::kGuess, Impact::kNone, 0, {}}, "holder is a guess"},
      {{HoldReason::kRulesNotLoaded, Impact::kNone, 0, {}}, "rules not loaded"},
      {{HoldReason::kImpact, Impact::kBlocking, 0, {}}, "impact below blocking"},
      {{HoldReason::kDryRun, Impact::kNone, 0, {}}, "dry run"},
      {{HoldReason::kRateLimit, Impact::kNone, 0, {}}, "rate limit until "},
  };
  for (const auto& [hold, expected] : cases) {
    char text[kHoldSize];
    describe_hold(hold, text);
    EXPECT_STREQ(text, expected);
  }
}

TEST(ActionNameTest, AreThoseOfTheViews) {
  EXPECT_EQ(to_string(Action::kNone), nullptr);
  EXPECT_STREQ(to_string(Action::kCancel), "cancel");
  EXPECT_STREQ(to_string(Action::kTerminate), "terminate");
  EXPECT_EQ(to_string(ActionResult::kNone), nullptr);
  EXPECT_STREQ(to_string(ActionResult::kRequested), "requested");
  EXPECT_STREQ(to_string(ActionResult::kDone), "done");
  EXPECT_STREQ(to_string(ActionResult::kDryRun), "dry run");
  EXPECT_STREQ(to_string(ActionResult::kSkipped), "skipped");
  EXPECT_STREQ(to_string(ActionResult::kUnsafe), "not possible safely");
  EXPECT_STREQ(to_string(ActionResult::kNoEffect), "no effect");
  EXPECT_STREQ(to_string(ActionResult::kNoEffectOnClientWait), "no effect: waits for its client");
  EXPECT_STREQ(to_string(ActionResult::kStandby), "waits for a synchronous standby");
}

}  // namespace
}  // namespace pgleak
