// Tests of core/detection about sessions that hold something although their state does not say so: the
// blocking clock, and the idle clock of a session that is not idle in a transaction.
#include <gtest/gtest.h>

#include "core/detection.hpp"
#include "samples.hpp"

namespace pgleak {
namespace {

constexpr ProgressEvidence kEvidence{10, false, 0, 5'000'000, false, std::nullopt, std::nullopt};
constexpr std::optional<Micros> kNoAge;

SampleOf idle_outside(WallTime idle_since, XactSeq ended_count = 5) {
  SampleOf sample;
  sample.state = SessionState::kIdle;
  sample.state_start = idle_since;
  sample.ended_count = ended_count;
  sample.last_end = TransactionEnd::kCommitted;
  return sample;
}

// Stuck while it delivers notifications.
SampleOf idle_with_transaction(WallTime xact_start, WallTime idle_since, XactSeq ended_count = 5) {
  SampleOf sample = idle_outside(idle_since, ended_count);
  sample.xact_start = xact_start;
  return sample;
}

// A scanner that reads one slot.
class HolderClocksTest : public testing::Test {
 protected:
  Ages look(const SessionStatus& status) {
    const TransactionBlock block = current_block(status);
    observe_session(&clocks_, status, block, waiters_, evidence_, waits_for_client_, time_.monotonic());
    const Ages ages = measure_ages(&clocks_, status, block, time_.now(), previous_);
    previous_ = PreviousScan{time_.monotonic(), time_.monotonic()};
    return ages;
  }
  // Looks at `status` until others have waited for `duration`.
  Ages block_others(const SessionStatus& status, Micros duration) {
    waiters_ = Waiters::kCertain;
    Ages ages = look(status);
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      time_.pass(kSecond);
      ages = look(status);
    }
    return ages;
  }

  FakeTime time_;
  SessionClocks clocks_{};
  PreviousScan previous_{};
  std::optional<Waiters> waiters_;
  std::optional<ProgressEvidence> evidence_;
  bool waits_for_client_ = false;
};

// --- which clock runs in which state ---

// After a minute in which the scanner saw the same each second.
TEST_F(HolderClocksTest, ClocksRunByStateBlockWaitersAndProgress) {
  const WallTime begun = time_.wall() - kHour;
  SampleOf fastpath = active_in_transaction(begun, begun, 5);
  fastpath.state = SessionState::kFastpath;
  SampleOf active_outside = active_in_transaction(WallTime::none(), begun, 5);
  SampleOf failing = plain_aborted(begun, begun, 5);
  failing.state = SessionState::kActive;
  SampleOf unknown = idle_in_transaction(begun, begun, 5);
  unknown.state = SessionState::kUnknown;
  SampleOf exiting = idle_in_transaction(begun, begun, 6);
  exiting.last_end = TransactionEnd::kDisconnected;
  SampleOf ending = active_in_transaction(begun, begun, 6);
  ending.last_end = TransactionEnd::kCommitted;
  ending.last_end_start = begun;

  constexpr Micros kOld = kHour + kMinute;
  struct {
    const char* name;
    SessionStatus status;
    bool is_stalled;      // the idle clock runs by the evidence
    bool is_transaction;  // in a visible one
    bool may_block;       // it may be to blame for those who wait
    std::optional<Micros> idle, idle_while_blocking;
  } const cases[] = {
      {"idle in transaction", idle_in_transaction(begun, begun, 5), false, true, true, kOld, kOld},
      {"aborted", plain_aborted(begun, begun, 5), false, true, true, kOld, kOld},
      {"active", active_in_transaction(begun, begun, 5), true, true, true, kNoAge, kNoAge},
      {"fastpath", fastpath, true, true, true, kNoAge, kNoAge},
      {"a statement in an aborted block", failing, true, false, false, kNoAge, kNoAge},
      {"active, no transaction yet", active_outside, false, false, false, kNoAge, kNoAge},
      {"active, its commit is published", ending, false, false, false, kNoAge, kNoAge},
      {"idle outside", idle_outside(begun), false, false, true, kNoAge, kMinute},
      {"idle with a transaction", idle_with_transaction(begun, begun), true, false, true, kNoAge, kNoAge},
      {"unknown", unknown, false, false, false, kNoAge, kNoAge},
      {"exiting", exiting, false, false, false, kOld, kOld},
  };
  for (const auto& c : cases)
    for (const bool blocks : {false, true})
      for (const bool waits : {false, true})
        for (const bool is_known : {false, true}) {
          SCOPED_TRACE(testing::Message() << c.name << (blocks ? ", blocks" : "") << (waits ? ", waits" : "")
                                          << (is_known ? ", evidence" : ""));
          time_ = FakeTime{};
          clocks_ = SessionClocks{};
          previous_ = PreviousScan{};
          waiters_ = blocks ? Waiters::kCertain : Waiters::kNone;
          waits_for_client_ = waits;
          evidence_ = is_known ? kEvidence : ProgressEvidence{};
          Ages ages{};
          for (int i = 0; i <= 60; i++) {
            ages = look(c.status);
            if (i < 60) time_.pass(kSecond);
          }
          const bool is_stalled = c.is_stalled && waits && is_known;
          EXPECT_EQ(ages.idle, is_stalled ? kMinute : blocks ? c.idle_while_blocking : c.idle);
          EXPECT_EQ(ages.transaction, c.is_transaction ? std::optional(kOld) : kNoAge);
          EXPECT_EQ(ages.blocking, blocks && c.may_block ? std::optional(kMinute) : kNoAge);
        }
}

// --- stalled ---

TEST_F(HolderClocksTest, ASessionThatStopsWaitingForItsClientIsNotStalledAnyMore) {
  const SampleOf active = active_in_transaction(time_.wall(), time_.wall(), 5);
  evidence_ = kEvidence;
  waits_for_client_ = true;
  look(active);
  time_.pass(kMinute);
  EXPECT_EQ(look(active).idle, kMinute);
  waits_for_client_ = false;
  EXPECT_EQ(look(active).idle, kNoAge);
  time_.pass(2 * kSecond);
  EXPECT_EQ(look(active).idle, kNoAge);
  waits_for_client_ = true;
  EXPECT_EQ(look(active).idle, 0_us);
}

TEST_F(HolderClocksTest, ASessionThatIsWokenForAMomentIsStillStalled) {
  const SampleOf active = active_in_transaction(time_.wall(), time_.wall(), 5);
  evidence_ = kEvidence;
  waits_for_client_ = true;
  look(active);
  time_.pass(kMinute);
  look(active);
  waits_for_client_ = false;
  EXPECT_EQ(look(active).idle, kNoAge);
  waits_for_client_ = true;
  evidence_.reset();
  EXPECT_EQ(look(active).idle, kMinute);
  waits_for_client_ = false;
  look(active);
  waits_for_client_ = true;
  evidence_ = kEvidence;
  evidence_->change_count++;
  EXPECT_EQ(look(active).idle, 0_us);
}

TEST_F(HolderClocksTest, BetweenTwoReadingsOfTheEvidenceTheAgeStays) {
  const SampleOf active = active_in_transaction(time_.wall(), time_.wall(), 5);
  evidence_ = kEvidence;
  waits_for_client_ = true;
  look(active);
  time_.pass(kMinute);
  look(active);
  evidence_.reset();
  time_.pass(400 * kMillisecond);
  const Ages ages = look(active);
  EXPECT_EQ(ages.idle, kMinute);
  EXPECT_EQ(ages.idle_check.ago, 400 * kMillisecond);
  EXPECT_EQ(ages.idle_check.next_in, 600 * kMillisecond);
}

TEST_F(HolderClocksTest, WhoIsIdleInItsTransactionIsNotMeasuredByProgress) {
  const SampleOf active = active_in_transaction(time_.wall(), time_.wall(), 5);
  evidence_ = kEvidence;
  waits_for_client_ = true;
  look(active);
  time_.pass(kMinute);
  EXPECT_EQ(look(idle_in_transaction(time_.wall() - kMinute, time_.wall() - kSecond, 5)).idle, kSecond);
  EXPECT_FALSE(clocks_.stall.since.is_set());
}

// --- idle outside of a transaction ---

TEST_F(HolderClocksTest, AnIdleHolderIsIdleSinceItsLastStatement) {
  const WallTime begun = time_.wall();
  EXPECT_EQ(block_others(idle_outside(begun), kMinute).idle, kMinute);
  const WallTime again = time_.wall();
  EXPECT_EQ(look(idle_outside(again, 6)).idle, 0_us);
  time_.pass(kSecond);
  const Ages ages = look(idle_outside(again, 6));
  EXPECT_EQ(ages.idle, kSecond);
  EXPECT_EQ(ages.blocking, kMinute + kSecond);
}

TEST_F(HolderClocksTest, AnIdleHolderIsNotIdleForLongerThanOthersWait) {
  const WallTime begun = time_.wall();
  time_.pass(kHour);
  EXPECT_EQ(block_others(idle_outside(begun), kMinute).idle, kMinute);
}

TEST_F(HolderClocksTest, WithoutWaitersAnIdleSessionHasNoAge) {
  waiters_ = Waiters::kNone;
  const WallTime begun = time_.wall();
  time_.pass(kHour);
  EXPECT_EQ(look(idle_outside(begun)).idle, kNoAge);
  block_others(idle_outside(begun), kMinute);
  waiters_ = Waiters::kNone;
  time_.pass(kBlockingGap + 1_us);
  const Ages ages = look(idle_outside(begun));
  EXPECT_EQ(ages.idle, kNoAge);
  EXPECT_EQ(ages.blocking, kNoAge);
}

TEST_F(HolderClocksTest, AClockSetForwardMakesNoLeakOfAnIdleHolder) {
  for (const Micros jump : {kHour, -kHour}) {
    SCOPED_TRACE(jump);
    clocks_ = SessionClocks{};
    const WallTime begun = time_.wall();
    time_.set_wall_clock_by(jump);
    EXPECT_EQ(block_others(idle_outside(begun), 0_us).idle, 0_us);
    time_.pass(kSecond);
    Ages ages = look(idle_outside(begun));
    EXPECT_LE(ages.idle, kSecond);
    EXPECT_EQ(ages.blocking, kSecond);
    time_.set_wall_clock_by(jump);
    time_.pass(kSecond);
    ages = look(idle_outside(begun));
    EXPECT_LE(ages.idle, 2 * kSecond);
    EXPECT_EQ(ages.blocking, 2 * kSecond);
  }
}

TEST_F(HolderClocksTest, KeepalivesInterruptTheIdleClockButNotTheBlockingClock) {
  WallTime idle_since = time_.wall();
  block_others(idle_outside(idle_since, 5), 0_us);
  for (XactSeq seq = 5; seq < 65; seq++) {
    time_.pass(500 * kMillisecond);
    EXPECT_EQ(look(active_in_transaction(time_.wall(), time_.wall(), seq)).idle, kNoAge);
    idle_since = time_.wall();
    time_.pass(500 * kMillisecond);
    EXPECT_EQ(look(idle_outside(idle_since, seq + 1)).idle, 500 * kMillisecond);
  }
  EXPECT_EQ(look(idle_outside(idle_since, 65)).blocking, kMinute);
}

// --- what belongs to a transaction ---

TEST_F(HolderClocksTest, WhatOthersAreSeenWaitingForWhileACommitEndsIsNotTheSessions) {
  const WallTime begun = time_.wall();
  block_others(active_in_transaction(begun, begun, 5), kMinute);
  SampleOf ending = active_in_transaction(begun, begun, 6);
  ending.last_end_start = begun;
  EXPECT_EQ(look(ending).blocking, kNoAge);
  EXPECT_FALSE(clocks_.blocking.is_session_level);
  waiters_ = Waiters::kNone;
  EXPECT_EQ(look(idle_outside(time_.wall(), 6)).blocking, kNoAge);
}

TEST_F(HolderClocksTest, WhatAnExitingSessionHeldInItsTransactionIsNotTheSessions) {
  const WallTime begun = time_.wall();
  block_others(idle_in_transaction(begun, begun, 5), kMinute);
  SampleOf exiting = idle_in_transaction(begun, begun, 6);
  exiting.last_end = TransactionEnd::kDisconnected;
  EXPECT_EQ(look(exiting).blocking, kNoAge);
  EXPECT_FALSE(clocks_.blocking.is_session_level);
}

// Also one of ours: nobody waits for what has been rolled back, though its block remains.
TEST_F(HolderClocksTest, AnErrorEndsTheClockOfItsTransaction) {
  const WallTime begun = time_.wall();
  block_others(idle_in_transaction(begun, begun, 5), kMinute);
  waiters_.reset();
  EXPECT_EQ(look(plain_aborted(begun, time_.wall(), 5)).blocking, kNoAge);
  waiters_ = Waiters::kCertain;
  EXPECT_EQ(look(plain_aborted(begun, time_.wall(), 5)).blocking, kMinute);
  EXPECT_TRUE(clocks_.blocking.is_session_level) << "others wait for what a rollback does not free";
}

TEST_F(HolderClocksTest, ALookThatWasNotTakenChangesNothing) {
  const WallTime begun = time_.wall();
  block_others(idle_in_transaction(begun, begun, 5), kMinute);
  waiters_.reset();
  time_.pass(5 * kSecond);
  const Ages ages = look(idle_in_transaction(begun, begun, 5));
  EXPECT_EQ(ages.blocking, kMinute);
  EXPECT_EQ(ages.blocking_check.ago, 5 * kSecond);
  waiters_ = Waiters::kCertain;
  EXPECT_EQ(look(idle_in_transaction(begun, begun, 5)).blocking, kMinute + 5 * kSecond);
}

TEST_F(HolderClocksTest, AnotherSessionInTheSlotInheritsNoClock) {
  const WallTime begun = time_.wall();
  evidence_ = kEvidence;
  waits_for_client_ = true;
  block_others(active_in_transaction(begun, begun, 5), kMinute);
  SampleOf other = active_in_transaction(begun, begun, 5);
  other.id.backend_start += kSecond;
  const Ages ages = look(other);
  EXPECT_EQ(ages.blocking, 0_us);
  EXPECT_EQ(ages.idle, 0_us);
  other.id.pid++;
  const Ages read_alone = measure_ages(&clocks_, other, current_block(other), time_.now(), previous_);
  EXPECT_EQ(read_alone.blocking, kNoAge);
  EXPECT_EQ(read_alone.idle, kNoAge);
}

// --- leaks by the blocking clock ---

Detection detect(const Ages& ages, Micros idle_leak, Micros blocking_leak) {
  LimitValues server = with(all_off(), Clock::kIdle, LimitKind::kLeak, idle_leak);
  server = with(server, Clock::kBlocking, LimitKind::kLeak, blocking_leak);
  return detect_leak(ages, resolve_limits(nothing_set(), server));
}

TEST(DetectHolderTest, TheBlockingClockMakesALeakAtItsLimit) {
  Ages ages{};
  ages.blocking = kMinute - 1_us;
  EXPECT_FALSE(detect(ages, kNever, kMinute).is_leak);
  EXPECT_EQ(detect(ages, kNever, kMinute).next_due_in, 1_us);
  ages.blocking = kMinute;
  const Detection found = detect(ages, kNever, kMinute);
  EXPECT_TRUE(found.is_leak);
  EXPECT_EQ(found.clock, Clock::kBlocking);
  EXPECT_EQ(found.age, kMinute);
  EXPECT_EQ(found.limit, kMinute);
  EXPECT_FALSE(detect(ages, kSecond, kNever).is_leak);
}

TEST(DetectHolderTest, IfSeveralClocksSayItTheFirstIsNamed) {
  Ages ages{};
  ages.blocking = kHour;
  ages.idle = kHour;
  EXPECT_EQ(detect(ages, kMinute, kMinute).clock, Clock::kIdle);
  ages.idle = kSecond;
  EXPECT_EQ(detect(ages, kMinute, kMinute).clock, Clock::kBlocking);
  EXPECT_EQ(detect(ages, kMinute, kMinute).next_due_in, kMinute - kSecond);
}

// Else scans would follow each other, each with 1 us to go, until somebody looks again.
TEST(DetectHolderTest, AnAgeThatGrowsByLooksIsNotDueBeforeTheNextOne) {
  Ages ages{};
  ages.blocking = kMinute - 1_us;
  ages.blocking_check = LastCheck{0_us, kWaiterPollInterval};
  EXPECT_EQ(detect(ages, kNever, kMinute).next_due_in, kWaiterPollInterval);
  ages.blocking = 50 * kSecond;
  EXPECT_EQ(detect(ages, kNever, kMinute).next_due_in, 10 * kSecond);
  ages.blocking_check.ago = 3 * kSecond;
  EXPECT_EQ(detect(ages, kNever, kMinute).next_due_in, 7 * kSecond);
  ages.blocking_check.ago = kMinute;
  EXPECT_EQ(detect(ages, kNever, kMinute).next_due_in, kWaiterPollInterval);
}

TEST(DetectHolderTest, AStalledSessionIsDueWhenItsEvidenceIsReadAgain) {
  Ages ages{};
  ages.idle = kMinute - 1_us;
  ages.idle_check = LastCheck{300 * kMillisecond, 700 * kMillisecond};
  EXPECT_EQ(detect(ages, kMinute, kNever).next_due_in, 700 * kMillisecond);
  ages.idle = 50 * kSecond;
  EXPECT_EQ(detect(ages, kMinute, kNever).next_due_in, 10 * kSecond - 300 * kMillisecond);
}

}  // namespace
}  // namespace pgleak
