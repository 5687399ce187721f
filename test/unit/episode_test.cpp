// Tests of core/episode: whether an episode goes on or how it ended, given what the backend published and
// what the status array shows.
#include "core/episode.hpp"

#include <gtest/gtest.h>

#include <type_traits>

#include "samples.hpp"

namespace pgleak {
namespace {

static_assert(std::is_trivially_copyable<Episode>::value, "lives in shared memory and in the event queue");

constexpr WallTime kBegun = wall_at(1000 * kSecond);
constexpr WallTime kIdleSince = wall_at(1001 * kSecond);
constexpr XactSeq kLeaked = 5;

Episode open_episode() {
  Episode episode{};
  episode.session = kSomeSession;
  episode.xact_seq = kLeaked;
  episode.xact_start = kBegun;
  episode.state = SessionState::kIdleInTransaction;
  episode.progress.last_state = SessionState::kIdleInTransaction;
  return episode;
}

BackendTrace present(const SessionStatus& sample) { return BackendTrace{true, sample.state, sample, false}; }
BackendTrace gone(SessionState last_state) { return BackendTrace{false, last_state, SessionStatus{}, false}; }

Outcome judge(const BackendTrace& trace, TransactionEnd watched_end) {
  return judge_open(open_episode(), trace, watched_end);
}

// The session after the rollback of its leaked transaction, in `state` and in no transaction.
SampleOf after_rollback(SessionState state) {
  SampleOf sample = plain_aborted(kBegun, kIdleSince, kLeaked);
  sample.state = state;
  return sample;
}

TEST(JudgeOpenTest, AnEpisodeGoesOnWhileItsTransactionDoes) {
  const SampleOf idle = idle_in_transaction(kBegun, kIdleSince, kLeaked);
  EXPECT_EQ(judge(present(idle), TransactionEnd::kNone), Outcome::kNone);
}

TEST(JudgeOpenTest, AnEpisodeSurvivesAStatementThatResumesTheTransaction) {
  const SampleOf active = active_in_transaction(kBegun, kIdleSince + kMinute, kLeaked);
  const SampleOf idle_again = idle_in_transaction(kBegun, kIdleSince + 2 * kMinute, kLeaked);
  EXPECT_EQ(judge(present(active), TransactionEnd::kNone), Outcome::kNone);
  EXPECT_EQ(judge(present(idle_again), TransactionEnd::kNone), Outcome::kNone);
}

TEST(JudgeOpenTest, AnEpisodeSurvivesAnErrorInsideASavepoint) {
  SampleOf aborted = idle_in_transaction(kBegun, kIdleSince, kLeaked);
  aborted.state = SessionState::kIdleInTransactionAborted;
  EXPECT_EQ(judge(present(aborted), TransactionEnd::kNone), Outcome::kNone);
}

TEST(JudgeOpenTest, AnEpisodeSurvivesAStateThatSaysNothing) {
  SampleOf untracked = idle_in_transaction(kBegun, kIdleSince, kLeaked);
  untracked.state = SessionState::kUnknown;
  EXPECT_EQ(judge(present(untracked), TransactionEnd::kNone), Outcome::kNone);
}

TEST(JudgeOpenTest, WhatTheGuestSaidIsTheOutcomeWhateverTheSessionDoesNow) {
  struct {
    TransactionEnd end;
    Outcome outcome;
  } const cases[] = {
      {TransactionEnd::kCommitted, Outcome::kCommitted},
      {TransactionEnd::kPrepared, Outcome::kPrepared},
      {TransactionEnd::kDisconnected, Outcome::kDisconnected},
  };
  SampleOf pooled;
  pooled.ended_count = kLeaked + 1;
  const BackendTrace traces[] = {
      present(pooled),                                                              // back in its pool
      present(active_in_transaction(kBegun + kHour, kBegun + kHour, kLeaked + 1)),  // in the next transaction
      present(idle_in_transaction(kBegun, kIdleSince, kLeaked + 1)),                // BEGIN; COMMIT; BEGIN
      present(plain_aborted(kBegun + kHour, kBegun + kHour, kLeaked + 9)),          // much later
      gone(SessionState::kIdle),
      gone(SessionState::kIdleInTransaction),
      gone(SessionState::kIdleInTransactionAborted),
  };
  for (const auto& c : cases) {
    for (const BackendTrace& trace : traces) EXPECT_EQ(judge(trace, c.end), c.outcome);
  }
}

TEST(JudgeOpenTest, AnErrorDoesNotEndAnEpisodeWhileTheBlockIsThere) {
  for (const SessionState state :
       {SessionState::kIdleInTransactionAborted, SessionState::kActive, SessionState::kFastpath})
    EXPECT_EQ(judge(present(after_rollback(state)), TransactionEnd::kRolledBack), Outcome::kNone)
        << testing::PrintToString(state);
}

TEST(JudgeOpenTest, AClientThatReadsItsNotificationsAgainReleasesThem) {
  SampleOf idle;
  idle.ended_count = kLeaked;
  idle.is_delivering = true;
  EXPECT_EQ(judge(present(idle), TransactionEnd::kNone), Outcome::kNone);
  idle.is_delivering = false;
  EXPECT_EQ(judge(present(idle), TransactionEnd::kNone), Outcome::kReleased);
  Episode episode = open_episode();
  episode.state = SessionState::kIdle;
  EXPECT_EQ(judge_open(episode, present(idle), TransactionEnd::kCommitted), Outcome::kReleased);
}

TEST(JudgeOpenTest, RollbackEndsAnEpisode) {
  EXPECT_EQ(judge(present(after_rollback(SessionState::kIdle)), TransactionEnd::kRolledBack),
            Outcome::kRolledBack);
}

TEST(JudgeOpenTest, ARolledBackTransactionIsOverWhenTheSessionIsInAnother) {
  SampleOf next = idle_in_transaction(kBegun + kMinute, kIdleSince + kMinute, kLeaked + 1);
  next.last_end = TransactionEnd::kRolledBack;
  next.last_end_start = kBegun;
  EXPECT_EQ(judge(present(next), TransactionEnd::kRolledBack), Outcome::kRolledBack);
}

TEST(JudgeOpenTest, ARolledBackTransactionIsOverWhenTheNextOneBeganInTheSameMicrosecond) {
  SampleOf next = idle_in_transaction(kBegun, kIdleSince + kMinute, kLeaked + 1);  // ROLLBACK; BEGIN
  next.last_end = TransactionEnd::kRolledBack;
  next.last_end_start = kBegun;
  EXPECT_EQ(judge(present(next), TransactionEnd::kRolledBack), Outcome::kRolledBack);
}

TEST(JudgeOpenTest, ARolledBackTransactionIsOverWhenALaterOneIsAborted) {
  EXPECT_EQ(judge(present(plain_aborted(kBegun + kMinute, kIdleSince + kMinute, kLeaked + 1)),
                  TransactionEnd::kRolledBack),
            Outcome::kRolledBack);
}

TEST(JudgeOpenTest, ASessionThatIsGoneWithoutAWordWasDisconnected) {
  for (const SessionState last_state :
       {SessionState::kIdleInTransaction, SessionState::kActive, SessionState::kIdleInTransactionAborted})
    EXPECT_EQ(judge(gone(last_state), TransactionEnd::kNone), Outcome::kDisconnected);
}

TEST(JudgeOpenTest, ASessionThatLeftFromAnAbortedBlockWasDisconnected) {
  EXPECT_EQ(judge(gone(SessionState::kIdleInTransactionAborted), TransactionEnd::kRolledBack),
            Outcome::kDisconnected);
}

// A backend remains for a while after its client has gone: the server drops its temporary tables in
// transactions of its own, the first of which has not ended yet.
TEST(JudgeOpenTest, WhatAnAbortedSessionDoesOnItsWayOutIsNoTransactionOfItsClient) {
  SampleOf leaving = plain_aborted(kBegun, kIdleSince, kLeaked);
  leaving.xact_start = kBegun + kMinute;
  Episode episode = open_episode();
  episode.progress.aborted_since = kIdleSince;
  EXPECT_EQ(judge_open(episode, present(leaving), TransactionEnd::kRolledBack), Outcome::kNone);
  leaving.state_start += 1_us;  // its client is active again: this is another block, aborted in a savepoint
  EXPECT_EQ(judge_open(episode, present(leaving), TransactionEnd::kRolledBack), Outcome::kRolledBack);
}

TEST(JudgeOpenTest, ASessionKnownToBeOnItsWayOutIsJudgedAsOneThatIsGone) {
  SampleOf leaving = plain_aborted(kBegun, kIdleSince, kLeaked);
  leaving.ended_count++;
  leaving.last_end = TransactionEnd::kDisconnected;
  for (const WallTime xact_start : {WallTime::none(), kBegun + kMinute}) {
    leaving.xact_start = xact_start;
    leaving.state = SessionState::kIdleInTransactionAborted;
    EXPECT_EQ(judge(present(leaving), TransactionEnd::kRolledBack), Outcome::kDisconnected);
    leaving.state = SessionState::kIdle;
    EXPECT_EQ(judge(present(leaving), TransactionEnd::kRolledBack), Outcome::kRolledBack);
  }
}

TEST(JudgeOpenTest, ASessionThatRolledBackAndThenLeftRolledBack) {
  for (const SessionState last_state :
       {SessionState::kIdle, SessionState::kActive, SessionState::kIdleInTransaction})
    EXPECT_EQ(judge(gone(last_state), TransactionEnd::kRolledBack), Outcome::kRolledBack)
        << testing::PrintToString(last_state);
}

TEST(JudgeOpenTest, TheSampleOfASessionThatIsGoneMeansNothing) {
  BackendTrace trace = gone(SessionState::kIdleInTransaction);
  trace.status = idle_in_transaction(kBegun, kIdleSince, kLeaked);  // of the session that has the slot now
  EXPECT_EQ(judge(trace, TransactionEnd::kNone), Outcome::kDisconnected);
  trace.status = after_rollback(SessionState::kIdleInTransactionAborted);
  EXPECT_EQ(judge(trace, TransactionEnd::kRolledBack), Outcome::kRolledBack);
}

TEST(JudgeOpenTest, TheFirstTransactionOfASlotIsFollowedLikeAnyOther) {
  Episode episode = open_episode();
  episode.xact_seq = 0;
  EXPECT_EQ(judge_open(episode, present(plain_aborted(kBegun, kIdleSince, 0)), TransactionEnd::kRolledBack),
            Outcome::kNone);
  EXPECT_EQ(judge_open(episode, present(SampleOf{}), TransactionEnd::kRolledBack), Outcome::kRolledBack);
}

TEST(JudgeOpenTest, AnAbortedBlockIsFollowedFromItsDetectionToItsEnd) {
  Episode episode = open_episode();
  episode.state = episode.progress.last_state = SessionState::kIdleInTransactionAborted;
  episode.xact_seq = current_block(plain_aborted(kBegun, kIdleSince, kLeaked)).xact_seq;

  const BackendTrace aborted = present(plain_aborted(kBegun, kIdleSince, kLeaked));
  EXPECT_EQ(judge_open(episode, aborted, TransactionEnd::kRolledBack), Outcome::kNone);
  EXPECT_EQ(judge_open(episode, present(after_rollback(SessionState::kIdle)), TransactionEnd::kRolledBack),
            Outcome::kRolledBack);
}

// The backend publishes the end before it removes the start of the transaction from its status entry. A read
// in between cannot know yet whether the block remains as aborted; an episode closed here would be opened
// twice.
TEST(JudgeOpenTest, AnErrorJustBeingProcessedDoesNotEndAnEpisode) {
  SampleOf aborting = active_in_transaction(kBegun, kIdleSince + kMinute, kLeaked + 1);
  aborting.last_end = TransactionEnd::kRolledBack;
  aborting.last_end_start = kBegun;
  EXPECT_EQ(judge(present(aborting), TransactionEnd::kRolledBack), Outcome::kNone);
}

TEST(JudgeOpenTest, WhatWasCancelledInPlaceGoesOnInItsAbortedBlockAndEndsAsCancelled) {
  Episode episode = open_episode();
  episode.progress.is_cancelled = true;
  const SampleOf parked = plain_aborted(kBegun, kIdleSince + kMinute, kLeaked);
  EXPECT_EQ(judge_open(episode, present(parked), TransactionEnd::kRolledBack), Outcome::kNone);
  SampleOf idle = parked;
  idle.state = SessionState::kIdle;
  EXPECT_EQ(judge_open(episode, present(idle), TransactionEnd::kRolledBack), Outcome::kCancelled);
  EXPECT_EQ(judge_open(episode, gone(SessionState::kIdle), TransactionEnd::kRolledBack), Outcome::kCancelled);
  EXPECT_EQ(judge_open(episode, gone(SessionState::kIdleInTransactionAborted), TransactionEnd::kRolledBack),
            Outcome::kCancelled);
}

TEST(JudgeOpenTest, ACancelledQueryDoesNotMakeACommitACancel) {
  Episode episode = open_episode();
  episode.progress.is_cancelled = true;
  EXPECT_EQ(judge_open(episode, gone(SessionState::kIdle), TransactionEnd::kCommitted), Outcome::kCommitted);
}

TEST(JudgeOpenTest, WhoWasToldToGoIsTerminatedOnlyWhenGone) {
  Episode episode = open_episode();
  episode.progress.terminate_sent = true;
  const SampleOf idle = idle_in_transaction(kBegun, kIdleSince, kLeaked);
  EXPECT_EQ(judge_open(episode, present(idle), TransactionEnd::kNone), Outcome::kNone);
  EXPECT_EQ(judge_open(episode, gone(SessionState::kIdleInTransaction), TransactionEnd::kDisconnected),
            Outcome::kTerminated);
  episode.progress.is_cancelled = true;
  EXPECT_EQ(judge_open(episode, gone(SessionState::kIdleInTransactionAborted), TransactionEnd::kRolledBack),
            Outcome::kTerminated);
}

TEST(OutcomeTest, IsPrintedAsInHistory) {
  EXPECT_EQ(to_string(Outcome::kNone), nullptr);
  EXPECT_STREQ(to_string(Outcome::kCommitted), "committed");
  EXPECT_STREQ(to_string(Outcome::kRolledBack), "rolled back");
  EXPECT_STREQ(to_string(Outcome::kPrepared), "prepared");
  EXPECT_STREQ(to_string(Outcome::kDisconnected), "disconnected");
  EXPECT_STREQ(to_string(Outcome::kCancelled), "cancelled");
  EXPECT_STREQ(to_string(Outcome::kTerminated), "terminated");
  EXPECT_STREQ(to_string(Outcome::kReleased), "released");
}

}  // namespace
}  // namespace pgleak
