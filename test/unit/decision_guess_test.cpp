// The tests of core/decision about sessions that keep others waiting by a guess: no limit acts on them.
#include "decision_fixture.hpp"

namespace pgleak {
namespace {

// A session with the oldest snapshot of a standby, whose replay waits for old snapshots.
class DecisionGuessTest : public DecisionTest {
 protected:
  DecisionGuessTest() {
    limit_blocking(LimitKind::kLeak, 30 * kSecond);
    limit(LimitKind::kLeak, kHour);
    limit(LimitKind::kCancel, kNever);
    limit(LimitKind::kTerminate, kNever);
    be(idle_in_transaction(time_.wall(), time_.wall(), kSeq));
    limit_blocking(LimitKind::kCancel, 40 * kSecond);
    limit_blocking(LimitKind::kTerminate, kMinute);
  }

  void limit_blocking(LimitKind kind, Micros duration) {
    inputs_.server_limits = with(inputs_.server_limits, Clock::kBlocking, kind, duration);
  }
  void follow_for(Micros duration) {
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      pass(kSecond);
      follow_and_store();
    }
  }
  // By a guess, replay waits behind it.
  void be_guessed(Micros duration) {
    snapshot_.waiters = Waiters::kGuessed;
    snapshot_.held = kBlocking;
    snapshot_.held->blocks_by_guess = true;
    follow_and_store();
    follow_for(duration);
  }
  // Others wait for a lock of it as well.
  void be_certain() {
    snapshot_.waiters = Waiters::kCertain;
    snapshot_.held->blocks_by_guess = false;
  }
  void be_certain(Micros duration) {
    be_certain();
    follow_and_store();
    follow_for(duration);
  }
};

TEST_F(DecisionGuessTest, AGuessIsALeak) {
  snapshot_.waiters = Waiters::kGuessed;
  snapshot_.held = kBlocking;
  snapshot_.held->blocks_by_guess = true;
  for (int second = 0; second <= 30; second++, pass(kSecond)) consider_and_store();
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.detection.clock, Clock::kBlocking);
  EXPECT_EQ(decision.impact.impact, Impact::kBlocking);
}

TEST_F(DecisionGuessTest, NoLimitOfTheBlockingClockActsOnAGuess) {
  be_guessed(kHour / 2);
  const Decision decision = follow();
  EXPECT_EQ(decision.ages.blocking, kHour / 2);
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_EQ(decision.next_action, Action::kNone);
  EXPECT_EQ(decision.hold.reason, HoldReason::kGuess);
  inputs_.dry_run = true;
  EXPECT_EQ(follow().step, ActionStep::kNone) << "it would not happen either";
  EXPECT_EQ(follow().hold.reason, HoldReason::kGuess);
}

TEST_F(DecisionGuessTest, WithoutALimitNothingIsHeldOff) {
  limit_blocking(LimitKind::kCancel, kNever);
  limit_blocking(LimitKind::kTerminate, kNever);
  be_guessed(kMinute);
  EXPECT_EQ(follow().hold.reason, HoldReason::kNone);
}

TEST_F(DecisionGuessTest, TheOtherClocksActAsEver) {
  limit(LimitKind::kLeak, 10 * kSecond);
  limit(LimitKind::kCancel, 50 * kSecond);
  be_guessed(49 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().next_action, Action::kCancel);
  pass(kSecond);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.reason.clock, Clock::kIdle);
}

TEST_F(DecisionGuessTest, WhereSomeWaitForCertainTheLimitCountsOnlyThese) {
  be_guessed(kMinute);
  be_certain(39 * kSecond);
  EXPECT_EQ(follow().ages.blocking, kMinute + 39 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().next_action, Action::kCancel);
  EXPECT_EQ(follow().next_action_at, time_.wall() + kSecond);
  pass(kSecond);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.action, Action::kCancel);
  EXPECT_EQ(decision.reason.lasted, 40 * kSecond);
}

TEST_F(DecisionGuessTest, AGuessDoesNotProlongACertainWait) {
  snapshot_.held = kBlocking;
  be_certain(20 * kSecond);
  be_guessed(kMinute);
  EXPECT_EQ(follow().ages.certain_blocking, std::nullopt);
  EXPECT_EQ(follow().hold.reason, HoldReason::kGuess);
}

TEST_F(DecisionGuessTest, ByHandItWorks) {
  be_guessed(kMinute);
  ask(Action::kCancel);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionGuessTest, NoActionIsTakenForAnImpactThatIsAGuess) {
  limit(LimitKind::kLeak, 10 * kSecond);
  limit(LimitKind::kCancel, 20 * kSecond);
  inputs_.server_min_impact = Impact::kBlocking;
  be_guessed(30 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().hold.reason, HoldReason::kGuess);
  be_certain();
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionGuessTest, NoRuleForThoseWhoBlockActsOnAGuess) {
  rules_->count = 1;
  rules_->rules[0].limits = RuleLimits{1, with(nothing_set(), Clock::kIdle, LimitKind::kCancel, 5 * kSecond)};
  rules_->rules[0].min_impact = Impact::kBlocking;
  rules_->rules[0].valid_until = kEndOfTime;
  snapshot_.limits->matches.add(0);
  inputs_.server_limits = all_off();
  limit(LimitKind::kLeak, kSecond);
  be_guessed(30 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().hold.reason, HoldReason::kGuess);
  be_certain();
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

}  // namespace
}  // namespace pgleak
