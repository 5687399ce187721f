// The tests of core/decision about sessions that others wait behind, in a transaction or outside.
#include "decision_fixture.hpp"

namespace pgleak {
namespace {

// Limits of the fixture on the idle clock: 10 s, 20 s, 1 h. On the blocking clock: a leak after 30 s.
class DecisionHolderTest : public DecisionTest {
 protected:
  DecisionHolderTest() { limit_blocking(LimitKind::kLeak, 30 * kSecond); }

  void limit_blocking(LimitKind kind, Micros duration) {
    inputs_.server_limits = with(inputs_.server_limits, Clock::kBlocking, kind, duration);
  }
  // Others wait for `duration`, and the scanner looks every second.
  void keep_others_waiting(Micros duration) {
    snapshot_.waiters = Waiters::kCertain;
    snapshot_.held = kBlocking;
    consider_and_store();
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      pass(kSecond);
      consider_and_store();
    }
  }
  // They have gone.
  void let_go() {
    snapshot_.waiters = Waiters::kNone;
    snapshot_.held = kLocking;
  }
  // An open episode on a session-level lock, which others have been waiting for since `duration`.
  void open_session_level(Micros duration = 30 * kSecond) {
    be_idle_outside();
    keep_others_waiting(duration);
    open_.is_session_level = true;
    open_.clock = Clock::kBlocking;
  }
};

// --- opening ---

TEST_F(DecisionHolderTest, WhoKeepsOthersWaitingLeaksWhateverItDoes) {
  limit(LimitKind::kLeak, kHour);
  const SessionStatus states[] = {
      active_in_transaction(time_.wall(), time_.wall(), kSeq),
      idle_in_transaction(time_.wall(), time_.wall(), kSeq),
      SampleOf{},
  };
  for (const SessionStatus& status : states) {
    SCOPED_TRACE(to_string(status.state));
    snapshot_.clocks = SessionClocks{};
    be(status);
    keep_others_waiting(29 * kSecond);
    EXPECT_EQ(consider().episode, EpisodeStep::kNone);
    pass(kSecond);
    const Decision decision = consider();
    EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
    EXPECT_EQ(decision.detection.clock, Clock::kBlocking);
    EXPECT_EQ(decision.detection.age, 30 * kSecond);
    EXPECT_EQ(decision.detection.limit, 30 * kSecond);
    EXPECT_EQ(decision.is_session_level, status.state == SessionState::kIdle);
    EXPECT_EQ(decision.impact.impact, Impact::kBlocking);
  }
}

TEST_F(DecisionHolderTest, ATransactionThatOpensByItsOwnLocksIsNotSessionLevel) {
  limit(LimitKind::kLeak, kHour);
  be_active_in(kSeq);
  keep_others_waiting(30 * kSecond);
  EXPECT_FALSE(consider().is_session_level);
  EXPECT_EQ(consider().block.xact_seq, kSeq);
}

TEST_F(DecisionHolderTest, AKeepaliveOfAnIdleHolderOpensASessionLevelEpisode) {
  be_idle_outside();
  limit(LimitKind::kLeak, kHour);
  keep_others_waiting(29 * kSecond);
  pass(kSecond);
  be_active_in(kSeq);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_TRUE(decision.is_session_level);
}

// Its transaction is the leak, whatever else the session holds.
TEST_F(DecisionHolderTest, ATransactionThatLeaksByAnotherClockIsNotSessionLevel) {
  be_idle_outside();
  limit_blocking(LimitKind::kLeak, kHour);
  keep_others_waiting(kSecond);
  be(idle_in_transaction(time_.wall(), time_.wall(), kSeq));
  pass(11 * kSecond);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.detection.clock, Clock::kIdle);
  EXPECT_FALSE(decision.is_session_level);
}

TEST_F(DecisionHolderTest, TheIdleLimitDetectsAnIdleHolder) {
  be_idle_outside();
  keep_others_waiting(9 * kSecond);
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  pass(kSecond);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.detection.clock, Clock::kIdle);
  EXPECT_EQ(decision.detection.age, 10 * kSecond);
  EXPECT_TRUE(decision.is_session_level);
}

TEST_F(DecisionHolderTest, AnIdleSessionThatNobodyWaitsForIsNotEvenMeasured) {
  be_idle_outside();
  let_go();
  pass(kHour);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kNone);
  EXPECT_FALSE(decision.clocks.has_value());
  EXPECT_EQ(decision.next_due_in, kForever);
}

// The scan saw those who waited for the transaction that is just committing.
TEST_F(DecisionHolderTest, ACommitThatIsJustEndingLeavesNoSessionLevelLeak) {
  limit(LimitKind::kLeak, kHour);
  be_active_in(kSeq);
  const WallTime begun = time_.wall();
  keep_others_waiting(kMinute);
  SampleOf ending = active_in_transaction(begun, begun, kSeq + 1);
  ending.last_end_start = begun;
  be(ending);
  EXPECT_EQ(consider_and_store().episode, EpisodeStep::kNone);
  be_idle_outside(kSeq + 1);
  let_go();
  EXPECT_EQ(consider_and_store().episode, EpisodeStep::kNone);
}

// It is in no block any more, though it shows the state in which its client left.
TEST_F(DecisionHolderTest, ASessionThatExitsDoesNotLeakAgain) {
  be(idle_in_transaction(time_.wall(), time_.wall(), kSeq));
  keep_others_waiting(kSecond);
  SampleOf exiting = idle_in_transaction(time_.wall() - kMinute, time_.wall() - kMinute, kSeq + 1);
  exiting.last_end = TransactionEnd::kDisconnected;
  be(exiting);
  snapshot_.waiters.reset();
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
}

// --- when to look again ---

TEST_F(DecisionHolderTest, AWaiterIsDueWhenTheNextLimitIs) {
  be_active_in(kSeq);
  keep_others_waiting(20 * kSecond);
  EXPECT_EQ(consider().next_due_in, 10 * kSecond);
  // This scan has not looked for waiters.
  snapshot_.waiters.reset();
  pass(300 * kMillisecond);
  EXPECT_EQ(consider().next_due_in, 10 * kSecond - 300 * kMillisecond);
  pass(9'699 * kMillisecond);
  EXPECT_EQ(consider().next_due_in, kWaiterPollInterval);
}

TEST_F(DecisionHolderTest, AnActionOfTheBlockingClockIsDueAtItsLimit) {
  limit_blocking(LimitKind::kTerminate, kMinute);
  open_session_level(30 * kSecond);
  const Decision decision = follow();
  EXPECT_EQ(decision.next_action, Action::kTerminate);
  EXPECT_EQ(decision.next_action_at, time_.wall() + 30 * kSecond);
  EXPECT_EQ(decision.next_due_in, 30 * kSecond);
  for (int i = 0; i < 29; i++) {
    pass(kSecond);
    follow_and_store();
  }
  pass(kSecond - 1_us);
  EXPECT_EQ(follow().next_due_in, kWaiterPollInterval);
}

// --- a session-level episode ---

TEST_F(DecisionHolderTest, KeepalivesDoNotEndASessionLevelEpisode) {
  open_session_level();
  for (XactSeq seq = kSeq; seq < kSeq + 100; seq++) {
    be_active_in(seq);
    snapshot_.watched_end = seq > kSeq ? TransactionEnd::kCommitted : TransactionEnd::kNone;
    EXPECT_EQ(follow_and_store().episode, EpisodeStep::kKeep);
    pass(500 * kMillisecond);
    snapshot_.watched_end = TransactionEnd::kCommitted;
    be_idle_outside(seq + 1);
    EXPECT_EQ(follow_and_store().episode, EpisodeStep::kKeep);
    pass(500 * kMillisecond);
  }
  EXPECT_EQ(follow().ages.blocking, 30 * kSecond + 100 * kSecond);
}

TEST_F(DecisionHolderTest, ItIsReleasedWhenNobodyHasWaitedForTenSeconds) {
  open_session_level();
  let_go();
  pass(kBlockingGap);
  EXPECT_EQ(follow_and_store().episode, EpisodeStep::kKeep);
  pass(1_us);
  const Decision decision = follow();
  EXPECT_EQ(decision.episode, EpisodeStep::kClose);
  EXPECT_EQ(decision.outcome, Outcome::kReleased);
  EXPECT_TRUE(decision.decide_again);
}

TEST_F(DecisionHolderTest, BetweenTwoWaitersItBlocksAllTheSame) {
  open_session_level();
  inputs_.server_min_impact = Impact::kBlocking;
  limit_blocking(LimitKind::kTerminate, 40 * kSecond);
  let_go();
  pass(5 * kSecond);
  const Decision decision = follow_and_store();
  EXPECT_EQ(decision.episode, EpisodeStep::kKeep);
  EXPECT_EQ(decision.impact.impact, Impact::kBlocking);
  EXPECT_EQ(decision.impact.blocked, 0);
  EXPECT_EQ(decision.hold.reason, HoldReason::kNone);
  snapshot_.waiters = Waiters::kCertain;
  pass(5 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
}

TEST_F(DecisionHolderTest, ItEndsWithItsSession) {
  open_session_level();
  be_gone();
  EXPECT_EQ(follow().episode, EpisodeStep::kClose);
  EXPECT_EQ(follow().outcome, Outcome::kDisconnected);
  open_.progress.is_cancelled = true;  // by hand, in a transaction of the session
  EXPECT_EQ(follow().outcome, Outcome::kDisconnected);
  open_.progress.terminate_sent = true;
  EXPECT_EQ(follow().outcome, Outcome::kTerminated);
}

TEST_F(DecisionHolderTest, ItEndsWithASessionThatExitsInsideATransaction) {
  open_session_level();
  snapshot_.watched_end = TransactionEnd::kDisconnected;
  EXPECT_EQ(follow().outcome, Outcome::kDisconnected);
}

TEST_F(DecisionHolderTest, TheBlockingClockTerminatesButNeverCancelsIt) {
  limit_blocking(LimitKind::kCancel, 30 * kSecond);
  open_session_level(59 * kSecond);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().next_action, Action::kNone);
  be_active_in(kSeq);  // a keepalive, which a cancel would only interrupt
  EXPECT_EQ(follow().step, ActionStep::kNone);
  be_idle_outside(kSeq + 1);
  limit_blocking(LimitKind::kTerminate, kMinute);
  EXPECT_EQ(follow().next_action, Action::kTerminate);
  pass(kSecond);
  const Decision decision = follow();
  EXPECT_EQ(decision.step, ActionStep::kBegin);
  EXPECT_EQ(decision.action, Action::kTerminate);
  EXPECT_EQ(decision.reason.clock, Clock::kBlocking);
  EXPECT_EQ(decision.reason.lasted, kMinute);
  EXPECT_EQ(decision.reason.limit, kMinute);
}

// Being idle with its lock is what such a session is for.
TEST_F(DecisionHolderTest, TheIdleClockOnlyDetectsIt) {
  limit(LimitKind::kTerminate, 20 * kSecond);
  open_session_level(kHour);
  const Decision decision = follow();
  EXPECT_GE(decision.ages.idle, kHour);
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_EQ(decision.next_action, Action::kNone);
  // Nor does the transaction clock, or the idle clock of a transaction of its.
  inputs_.server_limits = with(inputs_.server_limits, Clock::kTransaction, LimitKind::kLeak, kSecond);
  inputs_.server_limits = with(inputs_.server_limits, Clock::kTransaction, LimitKind::kTerminate, kSecond);
  be(idle_in_transaction(time_.wall() - kHour, time_.wall() - kHour, kSeq));
  EXPECT_EQ(follow().step, ActionStep::kNone);
}

TEST_F(DecisionHolderTest, ASeenReleaseDoesNotStopATerminateUnderWay) {
  open_session_level();
  run(Action::kTerminate, Reply::kNone);
  let_go();
  pass(2 * kSecond - 1_us);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_FALSE(follow().finished.has_value());
  snapshot_.reply = Reply::kActing;
  pass(kBlockingGap);
  EXPECT_EQ(follow().step, ActionStep::kTerminate);
  EXPECT_FALSE(follow().finished.has_value());
  EXPECT_EQ(follow().episode, EpisodeStep::kNone);
  be_gone();
  EXPECT_EQ(follow().finished, ActionResult::kDone);
}

// A terminate may take 12 s, longer than waiters may pause.
TEST_F(DecisionHolderTest, OthersAreSeenWaitingWhileATerminateIsUnderWay) {
  open_session_level();
  run(Action::kTerminate, Reply::kNone);
  for (int i = 0; i < 11; i++) {
    pass(kSecond);
    follow_and_store();
  }
  snapshot_.action.action = Action::kNone;
  snapshot_.waiters.reset();  // the next scan does not look
  pass(kSecond);
  EXPECT_EQ(follow().episode, EpisodeStep::kKeep);
  EXPECT_EQ(follow().ages.blocking, 41 * kSecond);
}

// --- by hand ---

TEST_F(DecisionHolderTest, ATerminateByHandReachesAnIdleSession) {
  be_idle_outside();
  let_go();
  ask(Action::kTerminate);
  const Decision opened = consider_and_store();
  EXPECT_EQ(opened.episode, EpisodeStep::kOpen);
  EXPECT_TRUE(opened.is_session_level);
  EXPECT_EQ(opened.detection.source, LimitSource::kManual);
  open_.is_session_level = true;
  const Decision begun = follow_and_store();
  EXPECT_EQ(begun.step, ActionStep::kBegin);
  EXPECT_EQ(begun.action, Action::kTerminate);
  EXPECT_TRUE(begun.is_manual);
}

TEST_F(DecisionHolderTest, AnEpisodeByHandIsReleasedWhenItsRequestIsWithdrawn) {
  be_idle_outside();
  let_go();
  open_.is_session_level = true;
  EXPECT_EQ(follow().episode, EpisodeStep::kClose);
  EXPECT_EQ(follow().outcome, Outcome::kReleased);
}

TEST_F(DecisionHolderTest, ARequestForASessionThatMovedOnIsRefused) {
  be_idle_outside(kSeq + 1);
  let_go();
  ask(Action::kTerminate, kSeq);
  EXPECT_EQ(consider().manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  open_.is_session_level = true;
  EXPECT_EQ(follow().manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  be_gone();
  EXPECT_EQ(consider().manual_answer, ActionResult::kSkipped);
}

TEST_F(DecisionHolderTest, NothingIsCancelledOutsideOfATransaction) {
  be_idle_outside();
  let_go();
  ask(Action::kCancel);
  EXPECT_EQ(consider().manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  open_session_level();
  ask(Action::kCancel);
  EXPECT_EQ(follow().manual_answer, ActionResult::kSkipped);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  be_active_in(kSeq);  // what it runs now
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  EXPECT_EQ(follow().action, Action::kCancel);
}

// --- rules ---

TEST_F(DecisionHolderTest, ARuleAboutBlockingAppliesBetweenTwoWaiters) {
  limit(LimitKind::kLeak, kHour);
  rules_->count = 1;
  rules_->rules[0].limits =
      RuleLimits{1, with(nothing_set(), Clock::kBlocking, LimitKind::kLeak, 5 * kSecond)};
  rules_->rules[0].min_impact = Impact::kBlocking;
  rules_->rules[0].valid_until = kEndOfTime;
  snapshot_.limits->matches.add(0);
  be_active_in(kSeq);
  keep_others_waiting(4 * kSecond);
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  pass(kSecond);
  consider_and_store();
  let_go();
  pass(kSecond);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.detection.source, LimitSource::kRule);
  snapshot_.held.reset();
  EXPECT_TRUE(consider().needs_held);
}

}  // namespace
}  // namespace pgleak
