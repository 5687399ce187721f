// The tests of core/decision about actions: when one begins, what holds it off, how it goes on and ends.
#include <tuple>

#include "decision_fixture.hpp"

namespace pgleak {
namespace {

using DecisionActionTest = DecisionTest;

// --- actions that limits demand ---

TEST_F(DecisionActionTest, ADueActionBeginsWithItsEvidence) {
  const Decision decision = follow();
  EXPECT_EQ(decision.episode, EpisodeStep::kKeep);
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.action, Action::kCancel);
  EXPECT_FALSE(decision.is_manual);
  EXPECT_EQ(decision.progress.action.last, Action::kCancel);
  EXPECT_EQ(decision.progress.action.result, ActionResult::kRequested);
  EXPECT_EQ(decision.progress.action.at, time_.wall());
  EXPECT_EQ(decision.reason.leak_id, 42);
  EXPECT_EQ(decision.reason.clock, Clock::kIdle);
  EXPECT_EQ(decision.reason.lasted, kMinute);
  EXPECT_EQ(decision.reason.limit, 20 * kSecond);
  EXPECT_EQ(decision.next_action_at, time_.wall());
}

TEST_F(DecisionActionTest, AnActionThatBeginsIsPolledThoughNothingWakesTheScanner) {
  EXPECT_EQ(follow().next_due_in, kActionPollInterval);
}

TEST_F(DecisionActionTest, SoIsOneOnAnActiveSession) {
  be_active();
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.action, Action::kCancel);
  EXPECT_EQ(decision.reason.clock, Clock::kTransaction);
  EXPECT_EQ(decision.next_due_in, kActionPollInterval);
}

TEST_F(DecisionActionTest, ADryRunIsWrittenDownOnce) {
  inputs_.dry_run = true;
  const Decision decision = follow_and_keep();
  EXPECT_EQ(decision.step, ActionStep::kDryRun);
  EXPECT_EQ(decision.hold.reason, HoldReason::kDryRun);
  EXPECT_EQ(budgets_.rate.count, 0);
  EXPECT_EQ(decision.progress.action.result, ActionResult::kDryRun);
  pass(kSecond);
  EXPECT_EQ(follow_and_keep().step, ActionStep::kNone);
  inputs_.dry_run = false;
  EXPECT_EQ(follow_and_keep().step, ActionStep::kBegin);
}

TEST_F(DecisionActionTest, LimitsLeaveSuperusersAloneUnlessTold) {
  snapshot_.is_superuser = true;
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_TRUE(decision.has_plan);
  EXPECT_EQ(decision.next_action, Action::kNone);
  inputs_.act_on_superusers = true;
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionActionTest, LimitsWaitAMinuteForTheRulesThenActWithOneWarning) {
  inputs_.rules_are_loaded = false;
  EXPECT_EQ(follow().step, ActionStep::kNone);
  pass(kMinute - 1_us);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_FALSE(follow().warns_about_rules);
  pass(1_us);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_TRUE(decision.warns_about_rules);
  EXPECT_FALSE(follow().warns_about_rules);
}

TEST_F(DecisionActionTest, WhatHurtsTooLittleIsNotActedOn) {
  inputs_.server_min_impact = Impact::kLocks;
  EXPECT_EQ(follow().step, ActionStep::kNone);
  snapshot_.held = kLocking;
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  snapshot_.limits->own_min_impact = Impact::kBlocking;  // the session's own value wins
  EXPECT_EQ(follow().step, ActionStep::kNone);
}

TEST_F(DecisionActionTest, BeyondTheRateIsOneWarningAndNoAction) {
  inputs_.max_actions_per_minute = 1;
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  const Decision second = follow();
  EXPECT_EQ(second.step, ActionStep::kNone);
  EXPECT_TRUE(second.warns_about_rate);
  const Decision third = follow();
  EXPECT_EQ(third.step, ActionStep::kNone);
  EXPECT_FALSE(third.warns_about_rate);
  pass(kMinute);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionActionTest, AnActionWithoutTimeIsDeferredAndUsesNoRate) {
  use_up(&budgets_.actions);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(budgets_.actions.first_deferred(), 7);
  EXPECT_EQ(budgets_.rate.count, 0);
}

TEST_F(DecisionActionTest, AFailedActionIsTriedAgainAfterItsPause) {
  record_result(&open_.progress, Action::kCancel, ActionResult::kUnsafe, time_.now());
  const Decision waiting = follow();
  EXPECT_EQ(waiting.step, ActionStep::kNone);
  EXPECT_EQ(waiting.next_due_in, retry_pause(ActionResult::kUnsafe, 1));
  pass(retry_pause(ActionResult::kUnsafe, 1));
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionActionTest, ASevererActionWaitsForNoPause) {
  record_result(&open_.progress, Action::kCancel, ActionResult::kUnsafe, time_.now());
  limit(LimitKind::kTerminate, 30 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  EXPECT_EQ(follow().action, Action::kTerminate);
}

// --- what holds limits off, and says so ---

TEST_F(DecisionActionTest, ADeclaredSessionIsActedOnOnlyIfLimitsMay) {
  snapshot_.is_declared = true;
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_EQ(decision.next_action, Action::kNone);
  EXPECT_EQ(decision.hold.reason, HoldReason::kDeclared);
  inputs_.act_on_declared = true;
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  EXPECT_FALSE(follow().spares_exported);
}

// Only the target knows.
TEST_F(DecisionActionTest, TheTargetSparesATransactionThatHasExportedItsSnapshot) {
  EXPECT_TRUE(follow().spares_exported);
  ask(Action::kCancel);
  EXPECT_FALSE(follow().spares_exported);
}

TEST_F(DecisionActionTest, ASessionThatWaitsForAStandbyHasNoPlan) {
  be_active();
  snapshot_.wait = SessionWait::kSyncRep;
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_TRUE(decision.has_plan);
  EXPECT_EQ(decision.next_action, Action::kNone);
  EXPECT_FALSE(decision.next_action_at.is_set());
  EXPECT_EQ(decision.hold.reason, HoldReason::kStandby);
  EXPECT_EQ(budgets_.rate.count, 0);
}

TEST_F(DecisionActionTest, AVictimIsSparedAndItsRootNamed) {
  be_active();
  snapshot_.held->waits = true;
  snapshot_.held->root_pid = 99;
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_EQ(decision.next_action, Action::kNone);
  EXPECT_EQ(decision.hold.reason, HoldReason::kWaitsBehind);
  EXPECT_EQ(decision.hold.root_pid, 99);
  ask(Action::kCancel);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionActionTest, WhatHoldsAnActionOffIsSaid) {
  snapshot_.is_superuser = true;
  EXPECT_EQ(follow().hold.reason, HoldReason::kSuperuser);
  snapshot_.is_superuser = false;
  inputs_.rules_are_loaded = false;
  EXPECT_EQ(follow().hold.reason, HoldReason::kRulesNotLoaded);
  inputs_.rules_are_loaded = true;
  inputs_.server_min_impact = Impact::kBlocking;
  EXPECT_EQ(follow().hold.reason, HoldReason::kImpact);
  EXPECT_EQ(follow().hold.min_impact, Impact::kBlocking);
  inputs_.server_min_impact = Impact::kNone;
  inputs_.max_actions_per_minute = 0;
  for (int i = 0; i < 2; i++) {
    EXPECT_EQ(follow().hold.reason, HoldReason::kRateLimit);
    EXPECT_EQ(follow().hold.until, time_.wall() + kMinute);
    EXPECT_EQ(follow().next_action, Action::kNone);
  }
  inputs_.max_actions_per_minute = 1;
  EXPECT_EQ(follow().hold.reason, HoldReason::kNone);
}

TEST_F(DecisionActionTest, WithoutALimitThatActsNothingIsHeldOff) {
  limit(LimitKind::kCancel, kNever);
  limit(LimitKind::kTerminate, kNever);
  snapshot_.is_superuser = true;
  EXPECT_EQ(follow().hold.reason, HoldReason::kNone);
}

TEST_F(DecisionActionTest, ARetryAfterNoEffectUsesNoRate) {
  for (const ActionResult result : {ActionResult::kNoEffect, ActionResult::kNoEffectOnClientWait}) {
    inputs_.max_actions_per_minute = 1;
    budgets_ = Budgets{};
    open_.progress = EpisodeProgress{};
    EXPECT_EQ(follow_and_keep().step, ActionStep::kBegin);
    EXPECT_EQ(budgets_.rate.count, 1);
    record_result(&open_.progress, Action::kCancel, result, time_.now());
    EXPECT_EQ(follow().step, ActionStep::kNone);
    EXPECT_EQ(follow().next_due_in, kSecond);
    pass(kSecond);
    EXPECT_EQ(follow().step, ActionStep::kBegin);
    EXPECT_FALSE(is_reported(follow().progress));
    EXPECT_EQ(budgets_.rate.count, 1);
    record_result(&open_.progress, Action::kCancel, ActionResult::kUnsafe, time_.now());
    pass(kSecond);
    EXPECT_EQ(follow().step, ActionStep::kNone);  // any other retry is paid
  }
}

TEST_F(DecisionActionTest, WhatACancelDidNotFreeIsSaidOnce) {
  record_result(&open_.progress, Action::kCancel, ActionResult::kDone, time_.now());
  EXPECT_FALSE(follow_and_keep().has_left_locks);
  for (const bool is_first : {true, false}) {
    snapshot_.held = kBlocking;
    EXPECT_EQ(follow_and_keep().has_left_locks, is_first);
    EXPECT_EQ(open_.progress.action.still_blocks, 2);
    snapshot_.held = kLocking;  // the waiters give up, and come again
    EXPECT_FALSE(follow_and_keep().has_left_locks);
    EXPECT_EQ(open_.progress.action.still_blocks, 0);
  }
  snapshot_.held = kBlocking;
  EXPECT_EQ(follow_and_keep().progress.action.still_blocks, 2);
  record_result(&open_.progress, Action::kTerminate, ActionResult::kDone, time_.now());
  EXPECT_EQ(open_.progress.action.still_blocks, 0);
}

// --- a signal under way to an active session ---

TEST_F(DecisionActionTest, ASignalIsDoneWhenItsEffectIsSeen) {
  run_signal(Action::kCancel, Reply::kActing);
  EXPECT_FALSE(follow().finished.has_value());
  EXPECT_EQ(follow().next_due_in, kActionPollInterval);
  snapshot_.watched_end = TransactionEnd::kRolledBack;
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);  // by its client
  snapshot_.reply = Reply::kDone;
  const Decision decision = follow();
  EXPECT_EQ(decision.finished, ActionResult::kDone);
  EXPECT_TRUE(decision.progress.is_cancelled);
  EXPECT_TRUE(decision.decide_again);
}

TEST_F(DecisionActionTest, ASignalIsDoneWhenTheQueryHasEnded) {
  run_signal(Action::kCancel, Reply::kActing);
  SampleOf aborted = idle_in_transaction(time_.wall() - 2 * kMinute, time_.wall(), kSeq);
  aborted.state = SessionState::kIdleInTransactionAborted;  // in a savepoint
  be(aborted);
  EXPECT_EQ(follow().finished, ActionResult::kDone);
}

TEST_F(DecisionActionTest, WhatTheHandlerRefusedIsSkipped) {
  for (const Action action : {Action::kCancel, Action::kTerminate}) {
    run_signal(action, Reply::kRefused);
    EXPECT_EQ(follow().finished, ActionResult::kSkipped);
    snapshot_.watched_end = TransactionEnd::kRolledBack;
    EXPECT_EQ(follow().finished, ActionResult::kSkipped);
    snapshot_.watched_end = TransactionEnd::kNone;
  }
}

TEST_F(DecisionActionTest, WhatEndedWithoutTheHandlersConsentIsSkipped) {
  run_signal(Action::kCancel, Reply::kNone);
  snapshot_.watched_end = TransactionEnd::kRolledBack;
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);
  snapshot_.watched_end = TransactionEnd::kNone;
  be(idle_in_transaction(time_.wall() - 2 * kMinute, time_.wall(), kSeq));
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);
  be_gone();
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);
}

TEST_F(DecisionActionTest, ATransactionThatCommittedWasNotCancelled) {
  for (const TransactionEnd end : {TransactionEnd::kCommitted, TransactionEnd::kPrepared}) {
    run_signal(Action::kCancel, Reply::kActing);
    snapshot_.watched_end = end;
    EXPECT_EQ(follow().finished, ActionResult::kSkipped);
    EXPECT_FALSE(follow().progress.is_cancelled);
    be_gone();  // and its session left after that
    EXPECT_EQ(follow().finished, ActionResult::kSkipped);
    EXPECT_FALSE(follow().progress.is_cancelled);
    snapshot_.is_present = true;
  }
}

TEST_F(DecisionActionTest, ASignalWithoutEffectIsGivenUp) {
  const std::tuple<SessionWait, Micros, ActionResult> cases[] = {
      {SessionWait::kOther, 10 * kSecond, ActionResult::kNoEffect},
      {SessionWait::kSyncRep, 10 * kSecond, ActionResult::kNoEffect},
      {SessionWait::kClientRead, kSecond, ActionResult::kNoEffectOnClientWait},
      {SessionWait::kClientWrite, kSecond, ActionResult::kNoEffectOnClientWait},
  };
  for (const auto& [wait, timeout, result] : cases) {
    for (const Reply reply : {Reply::kNone, Reply::kActing}) {
      open_.progress = EpisodeProgress{};
      run_signal(Action::kCancel, reply);
      snapshot_.wait = wait;
      pass(timeout - 1_us);
      EXPECT_FALSE(follow().finished.has_value());
      pass(1_us);
      const Decision decision = follow();
      EXPECT_EQ(decision.finished, result);
      EXPECT_FALSE(decision.progress.is_cancelled);
      EXPECT_EQ(decision.progress.action.failures, 1);
      EXPECT_EQ(decision.progress.action.retry_at, time_.monotonic() + kSecond);
    }
  }
}

TEST_F(DecisionActionTest, ATerminateIsDoneWhenTheBackendIsGone) {
  run_signal(Action::kTerminate, Reply::kActing);
  EXPECT_FALSE(follow().finished.has_value());
  snapshot_.watched_end = TransactionEnd::kDisconnected;
  EXPECT_FALSE(follow().finished.has_value());
  EXPECT_EQ(follow().episode, EpisodeStep::kNone);
  be_gone();
  const Decision decision = follow();
  EXPECT_EQ(decision.finished, ActionResult::kDone);
  EXPECT_TRUE(decision.progress.terminate_sent);
  open_.progress = decision.progress;
  snapshot_.action.action = Action::kNone;
  EXPECT_EQ(follow().outcome, Outcome::kTerminated);
}

TEST_F(DecisionActionTest, ASignalThatDoesNotEndASessionIsFollowedBySigterm) {
  for (const Reply reply : {Reply::kNone, Reply::kActing}) {
    run_signal(Action::kTerminate, reply);
    pass(2 * kSecond - 1_us);
    EXPECT_EQ(follow().step, ActionStep::kNone);
    pass(1_us);
    EXPECT_EQ(follow().step, ActionStep::kTerminate);
    EXPECT_FALSE(follow().finished.has_value());
  }
}

TEST_F(DecisionActionTest, ASessionThatHasMovedOnGetsNoSigterm) {
  run_signal(Action::kTerminate, Reply::kActing);
  snapshot_.watched_end = TransactionEnd::kCommitted;
  be(active_in_transaction(time_.wall(), time_.wall(), kSeq + 1));
  EXPECT_FALSE(follow().finished.has_value());
  pass(2 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);
}

// --- an action under way in an idle session ---

TEST_F(DecisionActionTest, ACancelThatWasProbedAsleepGetsItsSecondMessage) {
  run(Action::kCancel, Reply::kNone);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().next_due_in, kActionPollInterval);
  run(Action::kCancel, Reply::kProbed, false);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  run(Action::kCancel, Reply::kProbed);
  EXPECT_EQ(follow().step, ActionStep::kSend);
}

TEST_F(DecisionActionTest, AnAnswerFinishesAnAction) {
  const std::tuple<Action, Reply, ActionResult> cases[] = {
      {Action::kCancel, Reply::kDone, ActionResult::kDone},
      {Action::kCancel, Reply::kRefused, ActionResult::kSkipped},
      {Action::kTerminate, Reply::kRefused, ActionResult::kSkipped},
  };
  for (const auto& [action, reply, result] : cases) {
    open_.progress = EpisodeProgress{};
    run(action, reply);
    const Decision decision = follow();
    EXPECT_EQ(decision.episode, EpisodeStep::kKeep);
    EXPECT_EQ(decision.finished, result);
    EXPECT_EQ(decision.progress.action.result, result);
    EXPECT_EQ(decision.progress.is_cancelled, action == Action::kCancel && result == ActionResult::kDone);
    EXPECT_FALSE(decision.progress.terminate_sent);
    EXPECT_TRUE(decision.decide_again);
  }
}

TEST_F(DecisionActionTest, ATerminateOfAnIdleSessionIsDoneWhenItHasGone) {
  run(Action::kTerminate, Reply::kActing);
  EXPECT_FALSE(follow().finished.has_value());
  snapshot_.watched_end = TransactionEnd::kDisconnected;  // on its way out
  EXPECT_FALSE(follow().finished.has_value());
  EXPECT_EQ(follow().episode, EpisodeStep::kNone);
  be_gone();
  EXPECT_EQ(follow().finished, ActionResult::kDone);
  EXPECT_TRUE(follow().progress.terminate_sent);
}

TEST_F(DecisionActionTest, ASessionThatLeftBeforeItWasAskedLeftByItself) {
  run(Action::kTerminate, Reply::kNone);
  be_gone();
  EXPECT_EQ(follow().finished, ActionResult::kSkipped);
  EXPECT_FALSE(follow().progress.terminate_sent);
}

TEST_F(DecisionActionTest, SigtermIsSentOnceAndItsEffectAwaited) {
  run(Action::kTerminate, Reply::kNone);
  pass(2 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kTerminate);
  snapshot_.action.has_sigterm = true;
  EXPECT_EQ(follow().step, ActionStep::kNone);
  snapshot_.watched_end = TransactionEnd::kDisconnected;
  EXPECT_EQ(follow().episode, EpisodeStep::kNone);
  pass(10 * kSecond);
  EXPECT_EQ(follow().finished, ActionResult::kNoEffect);
  be_gone();
  EXPECT_EQ(follow().finished, ActionResult::kDone);
}

TEST_F(DecisionActionTest, ACancelIsGivenUpAfterItsTimeout) {
  run(Action::kCancel, Reply::kNone);
  pass(kHandshakeTimeout);
  EXPECT_FALSE(follow().finished.has_value());
  pass(1_us);
  EXPECT_EQ(follow().finished, ActionResult::kUnsafe);
}

TEST_F(DecisionActionTest, ASessionThatDoesNotEndItselfGetsTheSignal) {
  run(Action::kTerminate, Reply::kNone);
  pass(2 * kSecond - 1_us);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  pass(1_us);
  EXPECT_EQ(follow().step, ActionStep::kTerminate);
  snapshot_.watched_end = TransactionEnd::kCommitted;
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().episode, EpisodeStep::kClose);
}

// For a moment it shows neither its transaction nor an aborted block.
TEST_F(DecisionActionTest, WhatASessionShowsWhileItActsIsNotJudged) {
  run(Action::kCancel, Reply::kActing);
  SampleOf half = plain_aborted(time_.wall() - kMinute, time_.wall() - kMinute, kSeq);
  half.state = SessionState::kIdleInTransaction;
  be(half);
  snapshot_.watched_end = TransactionEnd::kRolledBack;
  EXPECT_EQ(follow().episode, EpisodeStep::kNone);
  be_gone();
  EXPECT_EQ(follow().episode, EpisodeStep::kClose);
}

// --- requests by hand ---

TEST_F(DecisionActionTest, ARequestOpensWhatNoLimitWould) {
  inputs_.server_limits = all_off();
  ask(Action::kCancel);
  use_up(&budgets_.records);  // somebody waits for the answer
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.detection.source, LimitSource::kManual);
  EXPECT_FALSE(decision.manual_answer.has_value());
  EXPECT_TRUE(decision.decide_again);
}

TEST_F(DecisionActionTest, ARequestForAnotherTransactionIsRefused) {
  ask(Action::kCancel, kSeq - 1);
  EXPECT_EQ(consider().manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(consider().episode, EpisodeStep::kOpen);  // by its limit
  const Decision followed = follow();
  EXPECT_EQ(followed.manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(followed.step, ActionStep::kNone);
  be_gone();
  EXPECT_EQ(consider().manual_answer, ActionResult::kSkipped);
}

TEST_F(DecisionActionTest, ARequestActsWhateverHoldsLimitsOff) {
  inputs_.dry_run = true;
  inputs_.max_actions_per_minute = 0;
  inputs_.rules_are_loaded = false;
  inputs_.server_min_impact = Impact::kBlocking;
  snapshot_.is_superuser = true;
  snapshot_.is_declared = true;
  snapshot_.held->waits = true;
  use_up(&budgets_.actions);
  ask(Action::kTerminate);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.action, Action::kTerminate);
  EXPECT_TRUE(decision.is_manual);
  EXPECT_EQ(decision.reason.limit, kNever);
  EXPECT_STREQ(decision.reason.source.by_login, "dba");
  EXPECT_EQ(decision.progress.action.result, ActionResult::kRequested);
}

TEST_F(DecisionActionTest, ARequestNeverTouchesASessionThatWaitsForAStandby) {
  be_active();
  snapshot_.wait = SessionWait::kSyncRep;
  for (const Action action : {Action::kCancel, Action::kTerminate}) {
    ask(action);
    const Decision decision = follow();
    EXPECT_EQ(decision.step, ActionStep::kNone);
    EXPECT_EQ(decision.manual_answer, ActionResult::kStandby);
    EXPECT_FALSE(decision.is_manual);
  }
}

TEST_F(DecisionActionTest, ARequestWaitsForTheActionUnderWay) {
  run(Action::kCancel, Reply::kNone);
  ask(Action::kTerminate);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_FALSE(decision.manual_answer.has_value());
}

}  // namespace
}  // namespace pgleak
