// Tests of core/session: the transaction block of a session, in each state that the server can show, and when
// two sessions are the same.
#include "core/session.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr WallTime kStart = wall_at(1000 * kSecond);
constexpr WallTime kEarlier = wall_at(900 * kSecond);
constexpr WallTime kIdleSince = wall_at(1001 * kSecond);
constexpr WallTime kNone = WallTime::none();

constexpr SessionState kAllStates[] = {
    SessionState::kUnknown,
    SessionState::kIdle,
    SessionState::kActive,
    SessionState::kFastpath,
    SessionState::kIdleInTransaction,
    SessionState::kIdleInTransactionAborted,
};
constexpr TransactionEnd kAllEnds[] = {
    TransactionEnd::kNone,     TransactionEnd::kCommitted,    TransactionEnd::kRolledBack,
    TransactionEnd::kPrepared, TransactionEnd::kDisconnected,
};

struct BlockCase {
  const char* meaning;
  SessionState state;
  WallTime xact_start;
  XactSeq ended_count;
  TransactionEnd last_end;
  WallTime last_end_start;
  TransactionBlock block;
};

constexpr TransactionBlock kNoBlock{false, 0, kNone};

using State = SessionState;
using End = TransactionEnd;
constexpr State kIdleIn = State::kIdleInTransaction;
constexpr State kAborted = State::kIdleInTransactionAborted;

// clang-format off
const BlockCase kBlockCases[] = {
    // A transaction that the server shows.
    {"idle in its first transaction", kIdleIn, kStart, 0, End::kNone, kNone, {true, 0, kStart}},
    {"idle in a later one", kIdleIn, kStart, 7, End::kCommitted, kEarlier, {true, 7, kStart}},
    {"idle in the one after a rollback", kIdleIn, kStart, 7, End::kRolledBack, kEarlier, {true, 7, kStart}},
    {"idle in the one after a PREPARE", kIdleIn, kStart, 7, End::kPrepared, kEarlier, {true, 7, kStart}},
    {"idle in the first one of a new owner of the slot", kIdleIn, kStart, 7, End::kNone, kEarlier, {true, 7, kStart}},
    {"running a statement", State::kActive, kStart, 7, End::kCommitted, kEarlier, {true, 7, kStart}},
    {"running one after a rollback", State::kActive, kStart, 7, End::kRolledBack, kEarlier, {true, 7, kStart}},
    {"running one in its first transaction", State::kActive, kStart, 0, End::kNone, kNone, {true, 0, kStart}},
    {"running a fast-path call", State::kFastpath, kStart, 7, End::kCommitted, kEarlier, {true, 7, kStart}},
    {"aborted inside a savepoint", kAborted, kStart, 7, End::kCommitted, kEarlier, {true, 7, kStart}},
    {"the same after a rollback", kAborted, kStart, 7, End::kRolledBack, kEarlier, {true, 7, kStart}},

    // A block without a transaction.
    {"aborted", kAborted, kNone, 7, End::kRolledBack, kEarlier, {true, 6, kEarlier}},
    {"the very first transaction aborted", kAborted, kNone, 1, End::kRolledBack, kEarlier, {true, 0, kEarlier}},
    {"refused in an aborted block, or about to begin", State::kActive, kNone, 7, End::kRolledBack, kEarlier, {true, 6, kNone}},
    {"a fast-path call in an aborted block", State::kFastpath, kNone, 7, End::kRolledBack, kEarlier, {true, 6, kNone}},

    // A transaction that has ended but is still shown.
    {"an error is being processed", State::kActive, kStart, 7, End::kRolledBack, kStart, {true, 6, kStart}},
    {"the same in a fast-path call", State::kFastpath, kStart, 7, End::kRolledBack, kStart, {true, 6, kStart}},
    {"a commit is being processed", State::kActive, kStart, 7, End::kCommitted, kStart, kNoBlock},
    {"a PREPARE is being processed", State::kActive, kStart, 7, End::kPrepared, kStart, kNoBlock},
    // A transaction with the start of the previous one, when several are sent in one message.
    {"BEGIN; COMMIT; BEGIN", kIdleIn, kStart, 7, End::kCommitted, kStart, {true, 7, kStart}},
    {"BEGIN; ROLLBACK; BEGIN", kIdleIn, kStart, 7, End::kRolledBack, kStart, {true, 7, kStart}},
    {"the same, then aborted inside a savepoint", kAborted, kStart, 7, End::kRolledBack, kStart, {true, 7, kStart}},
    {"a new owner of the slot", State::kActive, kStart, 7, End::kNone, kStart, {true, 7, kStart}},

    // No block.
    {"idle after a commit", State::kIdle, kNone, 7, End::kCommitted, kEarlier, kNoBlock},
    {"idle after a rollback", State::kIdle, kNone, 7, End::kRolledBack, kEarlier, kNoBlock},
    {"idle, delivering notifications", State::kIdle, kStart, 7, End::kCommitted, kEarlier, {true, 7, kStart}},
    {"the same after a rollback", State::kIdle, kStart, 7, End::kRolledBack, kStart, {true, 7, kStart}},
    {"about to begin after a commit", State::kActive, kNone, 7, End::kCommitted, kEarlier, kNoBlock},
    {"about to begin after a PREPARE", State::kActive, kNone, 7, End::kPrepared, kEarlier, kNoBlock},
    {"about to begin for the first time", State::kActive, kNone, 0, End::kNone, kNone, kNoBlock},
    {"the same in a slot used before", State::kActive, kNone, 7, End::kNone, kEarlier, kNoBlock},
    {"about to begin, no start known of the last one", State::kActive, kNone, 7, End::kCommitted, kNone, kNoBlock},
    {"a walsender after EXPORT_SNAPSHOT", kIdleIn, kNone, 7, End::kCommitted, kEarlier, kNoBlock},
    {"the same after a rollback", kIdleIn, kNone, 7, End::kRolledBack, kEarlier, kNoBlock},
    {"aborted, nothing published yet", kAborted, kNone, 0, End::kNone, kNone, kNoBlock},
    {"aborted, nothing published by this owner", kAborted, kNone, 7, End::kNone, kEarlier, kNoBlock},
    {"aborted, published of another", kAborted, kNone, 7, End::kCommitted, kEarlier, kNoBlock},
    {"an end without a count cannot be", kAborted, kNone, 0, End::kRolledBack, kEarlier, kNoBlock},
    {"the same while active", State::kActive, kNone, 0, End::kRolledBack, kEarlier, kNoBlock},
    {"exiting, the transaction is still shown", kIdleIn, kStart, 7, End::kDisconnected, kEarlier, kNoBlock},
    {"exiting from an active one", State::kActive, kStart, 7, End::kDisconnected, kEarlier, kNoBlock},
    {"exiting from an aborted savepoint", kAborted, kStart, 7, End::kDisconnected, kEarlier, kNoBlock},
    {"exiting, only the state is still shown", kIdleIn, kNone, 7, End::kDisconnected, kEarlier, kNoBlock},
    {"activity tracking is off", State::kUnknown, kStart, 7, End::kCommitted, kEarlier, kNoBlock},
    {"the same after a rollback", State::kUnknown, kNone, 7, End::kRolledBack, kEarlier, kNoBlock},
};
// clang-format on

TEST(CurrentBlockTest, FollowsFromStateStartAndLastEnd) {
  for (const BlockCase& c : kBlockCases) {
    SCOPED_TRACE(c.meaning);
    SampleOf sample;
    sample.state = c.state;
    sample.xact_start = c.xact_start;
    sample.state_start = kIdleSince;
    sample.ended_count = c.ended_count;
    sample.last_end = c.last_end;
    sample.last_end_start = c.last_end_start;

    const TransactionBlock block = current_block(sample);
    EXPECT_EQ(block.exists, c.block.exists);
    EXPECT_EQ(block.xact_seq, c.block.xact_seq);
    EXPECT_EQ(block.xact_start, c.block.xact_start);
  }
}

TEST(CurrentBlockTest, WithoutABlockNothingOfOneIsShown) {
  for (const SessionState state : {SessionState::kUnknown, SessionState::kIdle}) {
    for (const TransactionEnd end : kAllEnds) {
      SampleOf sample;
      sample.state = state;
      sample.xact_start = state == SessionState::kUnknown ? kStart : kNone;
      sample.ended_count = 3;
      sample.last_end = end;
      sample.last_end_start = kEarlier;
      const TransactionBlock block = current_block(sample);
      EXPECT_FALSE(block.exists);
      EXPECT_EQ(block.xact_seq, 0U);
      EXPECT_EQ(block.xact_start, kNone);
    }
  }
}

TEST(CurrentBlockTest, ABlockKeepsItsGenerationAndStartThroughAnError) {
  const TransactionBlock before = current_block(idle_in_transaction(kStart, kIdleSince, 5));
  const TransactionBlock after = current_block(plain_aborted(kStart, kIdleSince + kSecond, 5));
  EXPECT_TRUE(after.exists);
  EXPECT_EQ(after.xact_seq, before.xact_seq);
  EXPECT_EQ(after.xact_start, before.xact_start);
}

TEST(CurrentBlockTest, BeginCommitBeginInOneMessageIsAnotherBlockWithTheSameStart) {
  const TransactionBlock first = current_block(idle_in_transaction(kStart, kIdleSince, 5));
  const TransactionBlock second = current_block(idle_in_transaction(kStart, kIdleSince + kSecond, 6));
  EXPECT_EQ(second.xact_start, first.xact_start);
  EXPECT_NE(second.xact_seq, first.xact_seq);
}

TEST(CurrentBlockTest, TheTransactionAfterAnAbortedOneIsAnotherBlock) {
  const TransactionBlock aborted = current_block(plain_aborted(kStart, kIdleSince, 5));
  SampleOf next = idle_in_transaction(kStart + kSecond, kIdleSince + kSecond, 6);
  next.last_end = TransactionEnd::kRolledBack;
  next.last_end_start = kStart;
  EXPECT_EQ(current_block(next).xact_seq, aborted.xact_seq + 1);
}

TEST(CurrentBlockTest, ASessionWhoseClientDoesNotReadItsNotificationsHasOne) {
  SampleOf idle;
  idle.ended_count = 7;
  EXPECT_FALSE(current_block(idle).exists);
  idle.is_delivering = true;
  EXPECT_TRUE(current_block(idle).exists);
  EXPECT_EQ(current_block(idle).xact_seq, 7U);
  EXPECT_FALSE(current_block(idle).xact_start.is_set());
  idle.state = SessionState::kActive;
  EXPECT_FALSE(current_block(idle).exists);
}

TEST(SessionStateTest, IsIdleInTransactionInTwoStates) {
  for (const SessionState state : kAllStates) {
    EXPECT_EQ(is_idle_in_transaction(state),
              state == SessionState::kIdleInTransaction || state == SessionState::kIdleInTransactionAborted)
        << testing::PrintToString(state);
  }
}

TEST(SessionStateTest, IsActiveInTwoStates) {
  for (const SessionState state : kAllStates) {
    EXPECT_EQ(is_active(state), state == SessionState::kActive || state == SessionState::kFastpath)
        << testing::PrintToString(state);
  }
}

TEST(SessionStateTest, IsPrintedAsInPgStatActivity) {
  EXPECT_EQ(to_string(SessionState::kUnknown), nullptr);
  EXPECT_STREQ(to_string(SessionState::kIdle), "idle");
  EXPECT_STREQ(to_string(SessionState::kActive), "active");
  EXPECT_STREQ(to_string(SessionState::kFastpath), "fastpath function call");
  EXPECT_STREQ(to_string(SessionState::kIdleInTransaction), "idle in transaction");
  EXPECT_STREQ(to_string(SessionState::kIdleInTransactionAborted), "idle in transaction (aborted)");
}

TEST(SessionIdTest, APidIsNotEnough) {
  const SessionId id{100, wall_at(5_us)};
  EXPECT_TRUE(id == (SessionId{100, wall_at(5_us)}));
  EXPECT_FALSE(id != (SessionId{100, wall_at(5_us)}));
  EXPECT_TRUE(id != (SessionId{100, wall_at(6_us)})) << "the same pid, used again";
  EXPECT_FALSE(id == (SessionId{100, wall_at(6_us)}));
  EXPECT_TRUE(id != (SessionId{101, wall_at(5_us)})) << "started in the same microsecond";
  EXPECT_FALSE(id == (SessionId{101, wall_at(5_us)}));
}

}  // namespace
}  // namespace pgleak
