// The tests of core/decision about episodes: what has to be read, when one opens, what it shows, how it ends.
// Actions are in decision_action_test, whole lives in lives_test.
#include <utility>

#include "decision_fixture.hpp"

namespace pgleak {
namespace {

// --- what has to be read ---

TEST_F(DecisionTest, AYoungTransactionCostsNoFurtherReading) {
  be(idle_in_transaction(time_.wall() - kSecond, time_.wall() - kSecond, kSeq));
  snapshot_.held.reset();
  snapshot_.details.reset();
  const Decision decision = consider();
  EXPECT_FALSE(decision.needs_more());
  EXPECT_EQ(decision.episode, EpisodeStep::kNone);
  EXPECT_EQ(decision.next_due_in, 9 * kSecond);
  EXPECT_TRUE(decision.clocks.has_value());
}

TEST_F(DecisionTest, ALeakAsksForWhatItsEpisodeShows) {
  snapshot_.held.reset();
  snapshot_.details.reset();
  EXPECT_TRUE(consider().needs_held);
  EXPECT_TRUE(consider().needs_details);
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  snapshot_.held = kHarmless;
  EXPECT_FALSE(consider().needs_held);
  EXPECT_TRUE(consider().needs_details);
}

// Two steps: the details of a session that turns out to be no leak are not worth reading.
TEST_F(DecisionTest, ARuleAboutImpactAsksForWhatIsHeldFirst) {
  rules_->count = 1;
  rules_->rules[0].limits = RuleLimits{1, with(nothing_set(), Clock::kIdle, LimitKind::kLeak, kSecond)};
  rules_->rules[0].min_impact = Impact::kLocks;
  rules_->rules[0].valid_until = kEndOfTime;
  snapshot_.limits->matches.add(0);
  snapshot_.held.reset();
  snapshot_.details.reset();
  limit(LimitKind::kLeak, kHour);
  EXPECT_TRUE(consider().needs_held);
  EXPECT_FALSE(consider().needs_details);
  snapshot_.held = kHarmless;
  EXPECT_FALSE(consider().needs_more());
  snapshot_.held = kLocking;
  EXPECT_FALSE(consider().needs_held);
  EXPECT_TRUE(consider().needs_details);
  snapshot_.details.emplace();
  EXPECT_EQ(consider().episode, EpisodeStep::kOpen);
}

TEST_F(DecisionTest, AnOpenEpisodeAsksForWhatItHoldsUnlessItHasEnded) {
  snapshot_.held.reset();
  snapshot_.details.reset();
  EXPECT_TRUE(follow().needs_held);
  EXPECT_FALSE(follow().needs_details);
  snapshot_.watched_end = TransactionEnd::kCommitted;
  EXPECT_FALSE(follow().needs_more());
}

// --- opening ---

TEST_F(DecisionTest, ALeakOpensAndIsReadAgain) {
  snapshot_.held = kLocking;
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kOpen);
  EXPECT_EQ(decision.block.xact_seq, kSeq);
  EXPECT_EQ(decision.detection.clock, Clock::kIdle);
  EXPECT_EQ(decision.detection.age, kMinute);
  EXPECT_EQ(decision.detection.limit, 10 * kSecond);
  EXPECT_EQ(decision.impact.locks, 3);
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_TRUE(decision.decide_again);
}

TEST_F(DecisionTest, AnOpeningWithoutTimeIsDeferredToItsSlot) {
  use_up(&budgets_.records);
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kNone);
  EXPECT_FALSE(decision.decide_again);
  ASSERT_TRUE(budgets_.records.has_deferred());
  EXPECT_EQ(budgets_.records.first_deferred(), 7);
}

TEST_F(DecisionTest, NothingOpensThatIsNoClientOrInNoBlock) {
  snapshot_.is_client_backend = false;
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  snapshot_.is_client_backend = true;
  be_gone();
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  snapshot_.is_present = true;
  be(SampleOf{});
  EXPECT_EQ(consider().episode, EpisodeStep::kNone);
  EXPECT_FALSE(consider().clocks.has_value());
}

TEST_F(DecisionTest, ASessionThatCannotBeIdentifiedIsMeasuredButNotJudged) {
  snapshot_.limits.reset();
  const Decision decision = consider();
  EXPECT_EQ(decision.episode, EpisodeStep::kNone);
  EXPECT_FALSE(decision.needs_more());
  EXPECT_TRUE(decision.clocks.has_value());
}

TEST_F(DecisionTest, TheSameSnapshotTwiceIsTheSameDecision) {
  const Decision first = consider();
  const Decision second = consider();
  EXPECT_EQ(first.episode, second.episode);
  EXPECT_EQ(first.ages.idle, second.ages.idle);
  EXPECT_EQ(first.next_due_in, second.next_due_in);
  EXPECT_EQ(snapshot_.clocks.id.pid, 0);  // the clocks in the snapshot have not moved
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  EXPECT_EQ(follow().step, ActionStep::kBegin);
  EXPECT_EQ(budgets_.rate.count, 2);
}

// --- closing and keeping ---

TEST_F(DecisionTest, AnEpisodeClosesAsItsTransactionEnded) {
  const std::pair<TransactionEnd, Outcome> cases[] = {
      {TransactionEnd::kCommitted, Outcome::kCommitted},
      {TransactionEnd::kPrepared, Outcome::kPrepared},
      {TransactionEnd::kDisconnected, Outcome::kDisconnected},
  };
  for (const auto& [end, outcome] : cases) {
    snapshot_.watched_end = end;
    const Decision decision = follow();
    EXPECT_EQ(decision.episode, EpisodeStep::kClose);
    EXPECT_EQ(decision.outcome, outcome);
    EXPECT_EQ(decision.step, ActionStep::kNone);
    EXPECT_TRUE(decision.decide_again);
  }
}

TEST_F(DecisionTest, AClosingWithoutTimeIsDeferredAndNothingElseHappens) {
  snapshot_.watched_end = TransactionEnd::kCommitted;
  use_up(&budgets_.records);
  const Decision decision = follow();
  EXPECT_EQ(decision.episode, EpisodeStep::kNone);
  EXPECT_EQ(decision.step, ActionStep::kNone);
  EXPECT_FALSE(decision.decide_again);
  EXPECT_EQ(budgets_.records.first_deferred(), 7);
}

TEST_F(DecisionTest, AnOpenEpisodeIsKeptUpToDate) {
  limit(LimitKind::kCancel, kNever);
  const Decision first = follow_and_keep();
  EXPECT_EQ(first.episode, EpisodeStep::kKeep);
  EXPECT_EQ(first.progress.longest_idle, kMinute);
  EXPECT_EQ(first.progress.transaction_age, 2 * kMinute);
  EXPECT_EQ(first.next_action, Action::kTerminate);
  EXPECT_EQ(first.next_action_at, time_.wall() + (kHour - kMinute));
  EXPECT_EQ(first.next_due_in, kHour - kMinute);
  snapshot_.clocks = *first.clocks;
  pass(kSecond);
  EXPECT_EQ(follow().progress.longest_idle, kMinute + kSecond);
}

TEST_F(DecisionTest, ALeakBeginsToBlockOnce) {
  limit(LimitKind::kCancel, kNever);
  EXPECT_FALSE(follow_and_keep().has_begun_to_block);
  snapshot_.held = kBlocking;
  EXPECT_TRUE(follow_and_keep().has_begun_to_block);
  EXPECT_FALSE(follow_and_keep().has_begun_to_block);
  snapshot_.held = kHarmless;
  const Decision later = follow_and_keep();
  EXPECT_EQ(later.impact.blocked, 0);
  EXPECT_EQ(later.progress.worst.blocked, 2);
}

TEST_F(DecisionTest, ARollbackInPlaceLeavesTheIdleClockRunning) {
  limit(LimitKind::kCancel, kNever);
  snapshot_.clocks = *follow_and_keep().clocks;
  pass(kSecond);
  open_.progress.is_cancelled = true;
  snapshot_.watched_end = TransactionEnd::kRolledBack;
  be(plain_aborted(time_.wall() - 2 * kMinute - kSecond, time_.wall(), kSeq));
  snapshot_.aborted_at = time_.wall();
  EXPECT_EQ(follow().ages.idle, kMinute + kSecond);
  snapshot_.aborted_at = WallTime::none();  // its client did that
  EXPECT_EQ(follow().ages.idle, Micros{0});
}

}  // namespace
}  // namespace pgleak
