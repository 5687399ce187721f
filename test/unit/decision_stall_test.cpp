// The tests of core/decision about sessions that wait for their client in the middle of something.
#include "decision_fixture.hpp"

namespace pgleak {
namespace {

constexpr ProgressEvidence kEvidence{10, false, 0, 5'000'000, false, std::nullopt, std::nullopt};

// Limits of the fixture on the idle clock: a leak after 10 s, a cancel after 20 s, a terminate after 1 h.
class DecisionStallTest : public DecisionTest {
 protected:
  void stall(SessionWait wait = SessionWait::kClientRead) {
    snapshot_.wait = wait;
    snapshot_.evidence = kEvidence;
  }
};

TEST_F(DecisionStallTest, TheIdleClockOpensAStalledSession) {
  for (const SessionWait wait : {SessionWait::kClientRead, SessionWait::kClientWrite}) {
    snapshot_.clocks = SessionClocks{};
    be_active_in(kSeq);
    stall(wait);
    consider_and_store();
    pass(10 * kSecond - 1_us);
    EXPECT_EQ(consider().episode, EpisodeStep::kNone);
    pass(1_us);
    const Decision decision = consider();
    EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
    EXPECT_EQ(decision.detection.clock, Clock::kIdle);
    EXPECT_FALSE(decision.is_session_level);
  }
}

TEST_F(DecisionStallTest, WithoutEvidenceOrWithProgressNothingOpens) {
  be_active_in(kSeq);
  stall();
  snapshot_.evidence = ProgressEvidence{};
  consider_and_store();
  pass(kHour);
  EXPECT_EQ(consider_and_store().episode, EpisodeStep::kNone);
  stall();
  for (int i = 0; i < 60; i++) {
    snapshot_.evidence->run_time = i;
    EXPECT_EQ(consider_and_store().episode, EpisodeStep::kNone);
    pass(kMinute);
  }
}

TEST_F(DecisionStallTest, ASessionStuckInItsNotificationsLeaksAndIsNeverCancelled) {
  limit(LimitKind::kTerminate, kMinute);
  be_idle_outside();
  snapshot_.status.xact_start = time_.wall();
  stall(SessionWait::kClientWrite);
  consider_and_store();
  pass(30 * kSecond);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.block.xact_seq, kSeq);
  EXPECT_FALSE(decision.is_session_level);
  EXPECT_EQ(follow().step, ActionStep::kNone);
  EXPECT_EQ(follow().next_action, Action::kTerminate);
  pass(30 * kSecond);
  EXPECT_EQ(follow().action, Action::kTerminate);
}

// A cancel makes the process run each time, and the pauses between two of them grow.
TEST_F(DecisionStallTest, CancelsInVainDoNotPutOffTheTerminate) {
  limit(LimitKind::kTerminate, 5 * kMinute);
  be_active_in(kSeq);
  stall();
  follow_and_store();
  const MonotonicTime begun = time_.monotonic();
  int cancels = 0;
  Decision decision = follow_and_store();
  while (decision.action != Action::kTerminate && time_.monotonic() - begun < kHour) {
    if (decision.step == ActionStep::kBegin) {
      cancels++;
      snapshot_.evidence->run_time = *snapshot_.evidence->run_time + 1000;
      snapshot_.action = RunningAction{
          Action::kCancel, true, snapshot_.status.state_start, false, time_.monotonic(), 1, Handshake{}};
      snapshot_.reply = Reply::kActing;
      pass(kSecond);
      EXPECT_EQ(follow_and_store().finished, ActionResult::kNoEffectOnClientWait);
      snapshot_.action.action = Action::kNone;
    } else {
      pass(sooner(decision.next_due_in, 5 * kSecond));
    }
    decision = follow_and_store();
  }
  EXPECT_EQ(time_.monotonic() - begun, 5 * kMinute);
  EXPECT_GE(cancels, 5);
  EXPECT_LE(cancels, 10);
}

}  // namespace
}  // namespace pgleak
