// Tests of core/prepared: when a prepared transaction is a leak, by which clock, what becomes of its episode
// while processes restart or do not answer, and the statement that ends it.
#include "core/prepared.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "samples.hpp"

namespace pgleak {
namespace {

using Step = PreparedDecision::Step;

constexpr std::uint32_t kXid = 745;
constexpr PreparedLimits kLimits{5 * kMinute, kNever, kMinute};

// A scanner that looks at one place again and again.
class PreparedTest : public testing::Test {
 protected:
  // The transaction is there since `ago`, and the recorder has listed it.
  void list(Micros ago = Micros{0}) {
    listed_ = PreparedTransaction{};
    listed_.xid = kXid;
    listed_.prepared_at = time_.wall() - ago;
    copy_gid(listed_.gid, "gid");
    is_listed_ = true;
  }

  PreparedSnapshot snapshot() const {
    PreparedSnapshot snapshot{};
    snapshot.now = time_.now();
    snapshot.xid = xid_;
    snapshot.listed = is_listed_ && xid_ == kXid ? &listed_ : nullptr;
    snapshot.blocks_others = blocked_ > 0;
    snapshot.fate = fate_;
    snapshot.previous_scan = previous_scan_;
    snapshot.clocks = clocks_;
    return snapshot;
  }

  PreparedDecision scan(const PreparedLimits& limits = kLimits) {
    TimeBudget budget{};
    PreparedSnapshot seen = snapshot();
    const Episode* const open = is_open_ ? &episode_ : nullptr;
    PreparedDecision decision = decide_prepared(seen, open, limits, &budget);
    if (decision.needs_held) {
      seen.held = HeldResources{xid_, 0, 2, blocked_, WallTime::none(), 1000, false, 0, false};
      decision = decide_prepared(seen, open, limits, &budget);
      EXPECT_FALSE(decision.needs_held);
    }
    carry_out(decision);
    return decision;
  }

  void carry_out(const PreparedDecision& decision) {
    clocks_ = decision.clocks;
    previous_scan_ = time_.monotonic();
    if (decision.step == Step::kOpen) {
      is_open_ = true;
      episode_ = Episode{};
      episode_.kind = HolderKind::kPreparedTransaction;
      episode_.progress.worst = decision.impact;
    }
    if (decision.step == Step::kKeep) episode_.progress = decision.progress;
    if (decision.step == Step::kClose) is_open_ = false;
  }

  Step step_after(Micros duration, const PreparedLimits& limits = kLimits) {
    time_.pass(duration);
    return scan(limits).step;
  }

  // Scans as often as the scanner does while somebody waits.
  void wait_behind(Micros duration, const PreparedLimits& limits = kLimits) {
    for (Micros passed{0}; passed < duration; passed += kSecond) step_after(kSecond, limits);
  }

  FakeTime time_;
  PreparedTransaction listed_{};
  bool is_listed_ = false;
  std::uint32_t xid_ = kXid;
  std::int32_t blocked_ = 0;
  PreparedFate fate_ = PreparedFate::kNone;
  MonotonicTime previous_scan_ = MonotonicTime::none();
  PreparedClocks clocks_{};
  bool is_open_ = false;
  Episode episode_{};
};

TEST_F(PreparedTest, APlaceThatIsEmptyNeedsNoScan) {
  xid_ = 0;
  const PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kNone);
  EXPECT_EQ(decision.next_due_in, kForever);
}

TEST_F(PreparedTest, ItIsALeakOnceItIsOlderThanTheLimit) {
  list();
  EXPECT_EQ(scan().next_due_in, 5 * kMinute);
  EXPECT_EQ(step_after(5 * kMinute - 1_us), Step::kNone);
  time_.pass(1_us);
  const PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kOpen);
  EXPECT_EQ(decision.detection.clock, Clock::kPrepared);
  EXPECT_EQ(decision.detection.age, 5 * kMinute);
  EXPECT_EQ(decision.detection.limit, 5 * kMinute);
  EXPECT_EQ(decision.detection.source, LimitSource::kServer);
  EXPECT_EQ(decision.impact.impact, Impact::kHorizon);
}

TEST_F(PreparedTest, ItsAgeCountsFromBeforeTheStart) {
  list(kHour);
  EXPECT_EQ(scan().step, Step::kOpen);
}

TEST_F(PreparedTest, AWallClockThatIsSetMakesNoLeakAndHidesNone) {
  xid_ = 0;
  scan();
  time_.pass(kSecond);
  xid_ = kXid;
  scan();
  time_.pass(kSecond);
  list(kSecond);
  time_.set_wall_clock_by(kHour);  // before its first listing is seen
  EXPECT_EQ(scan().step, Step::kNone);
  time_.set_wall_clock_by(-2 * kHour);
  EXPECT_EQ(step_after(4 * kMinute), Step::kNone);
  EXPECT_EQ(step_after(kMinute), Step::kOpen);
}

TEST_F(PreparedTest, ALimitOfZeroIsNever) {
  list(kHour);
  EXPECT_EQ(scan(PreparedLimits{kNever, kSecond, kNever}).step, Step::kNone);
  EXPECT_EQ(step_after(24 * kHour, PreparedLimits{kNever, kSecond, kNever}), Step::kNone);
}

TEST_F(PreparedTest, TheLimitForTransactionsAppliesToo) {
  list();
  const PreparedLimits limits{5 * kMinute, kMinute, kNever};
  EXPECT_EQ(scan(limits).next_due_in, kMinute);
  time_.pass(kMinute);
  const PreparedDecision decision = scan(limits);
  EXPECT_EQ(decision.step, Step::kOpen);
  EXPECT_EQ(decision.detection.clock, Clock::kTransaction);
  EXPECT_EQ(decision.detection.limit, kMinute);
}

TEST_F(PreparedTest, ItIsALeakOnceOthersHaveWaitedForTheLimit) {
  list();
  blocked_ = 3;
  wait_behind(59 * kSecond);
  EXPECT_FALSE(is_open_);
  time_.pass(kSecond);
  scan();
  time_.pass(kSecond);
  const PreparedDecision decision = scan();
  EXPECT_TRUE(is_open_);
  EXPECT_EQ(episode_.progress.worst.blocked, 3);
  EXPECT_EQ(decision.impact.impact, Impact::kBlocking);
}

TEST_F(PreparedTest, WaitersThatComeAndGoAreOneWait) {
  list();
  for (int i = 0; i < 12 && !is_open_; i++) {
    blocked_ = 1;
    step_after(kSecond);
    blocked_ = 0;
    step_after(4 * kSecond);
  }
  EXPECT_FALSE(is_open_);
  blocked_ = 1;
  EXPECT_EQ(step_after(kSecond), Step::kOpen);
}

TEST_F(PreparedTest, TheNextTransactionOfThePlaceStartsFromZero) {
  list();
  blocked_ = 1;
  wait_behind(50 * kSecond);
  xid_ = kXid + 1;
  listed_.xid = xid_;
  wait_behind(30 * kSecond);
  EXPECT_FALSE(is_open_);
}

TEST_F(PreparedTest, WithoutTheRecorderALeakIsFoundByWhatTheScannerHasSeen) {
  EXPECT_EQ(scan().step, Step::kNone);
  EXPECT_EQ(step_after(5 * kMinute - kSecond), Step::kNone);
  time_.pass(kSecond);
  const PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kOpen);
  EXPECT_EQ(decision.detection.age, 5 * kMinute);
}

TEST_F(PreparedTest, TheRecorderHasTenSecondsToListIt) {
  const PreparedLimits limits{kSecond, kNever, kNever};
  scan(limits);
  EXPECT_EQ(step_after(9 * kSecond, limits), Step::kNone);
  EXPECT_EQ(step_after(kSecond, limits), Step::kOpen);
}

TEST_F(PreparedTest, AnEpisodeGoesOnAndKeepsItsWorst) {
  list(kHour);
  blocked_ = 2;
  scan();
  blocked_ = 0;
  const PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kKeep);
  EXPECT_EQ(decision.impact.blocked, 0);
  EXPECT_EQ(decision.progress.worst.blocked, 2);
  EXPECT_FALSE(decision.has_begun_to_block);
}

TEST_F(PreparedTest, ItIsSaidOnceThatItBlocks) {
  list(kHour);
  scan();
  blocked_ = 1;
  EXPECT_TRUE(scan().has_begun_to_block);
  blocked_ = 2;
  EXPECT_FALSE(scan().has_begun_to_block);
}

TEST_F(PreparedTest, WhenItIsGoneTheRecorderSaysHowItEnded) {
  list(kHour);
  scan();
  xid_ = 0;
  PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kNone);
  EXPECT_TRUE(decision.asks_fate);
  EXPECT_EQ(decision.next_due_in, kRecorderTimeout);
  fate_ = PreparedFate::kRolledBack;
  decision = scan();
  EXPECT_EQ(decision.step, Step::kClose);
  EXPECT_EQ(decision.outcome, Outcome::kRolledBack);
}

TEST_F(PreparedTest, AnotherTransactionInItsPlaceIsNotTheSame) {
  list(kHour);
  scan();
  xid_ = kXid + 1;
  fate_ = PreparedFate::kCommitted;
  EXPECT_EQ(scan().outcome, Outcome::kCommitted);
}

TEST_F(PreparedTest, WithoutAnAnswerTheOutcomeIsUnknown) {
  list(kHour);
  scan();
  xid_ = 0;
  scan();
  EXPECT_EQ(step_after(kRecorderTimeout - 1_us), Step::kNone);
  time_.pass(1_us);
  const PreparedDecision decision = scan();
  EXPECT_EQ(decision.step, Step::kClose);
  EXPECT_EQ(decision.outcome, Outcome::kUnknown);
}

TEST_F(PreparedTest, TheCommitLogMayNotGoBackSoFar) {
  list(kHour);
  scan();
  xid_ = 0;
  fate_ = PreparedFate::kUnknown;
  EXPECT_EQ(scan().outcome, Outcome::kUnknown);
}

TEST_F(PreparedTest, RecordsWaitForTheBudget) {
  list(kHour);
  TimeBudget spent{};
  spent.spend(kSecond);
  PreparedSnapshot seen = snapshot();
  seen.held = HeldResources{};
  EXPECT_EQ(decide_prepared(seen, nullptr, kLimits, &spent).step, Step::kNone);
  EXPECT_TRUE(spent.has_deferred());
}

TEST(PreparedLeakId, IsTheSameAfterARestart) {
  const WallTime at = wall_at(840'000'000 * kSecond);
  EXPECT_EQ(prepared_leak_id(at, 745), prepared_leak_id(at, 745));
  EXPECT_NE(prepared_leak_id(at, 745), prepared_leak_id(at, 746));
  EXPECT_NE(prepared_leak_id(at, 745), prepared_leak_id(at + 1_us, 745));
}

TEST(PreparedLeakId, IsNoIdOfASession) {
  const std::int64_t sessions_in_2100 = 100LL * 366 * 86400 * 10000;
  EXPECT_GT(prepared_leak_id(wall_at(840'000'000 * kSecond), 3), sessions_in_2100);
}

const char* remedy(const char* gid) {
  static char text[kRemedySize];
  write_remedy(gid, text);
  return text;
}

TEST(Remedy, QuotesTheIdentifier) {
  EXPECT_STREQ(remedy("gid"), "ROLLBACK PREPARED 'gid'");
  EXPECT_STREQ(remedy("it's"), "ROLLBACK PREPARED 'it''s'");
  EXPECT_STREQ(remedy("a\\'b"), "ROLLBACK PREPARED E'a\\\\''b'");
  EXPECT_STREQ(remedy("größer"), "ROLLBACK PREPARED 'größer'");
}

TEST(Remedy, HasRoomForTheLongest) {
  char gid[kGidSize];
  std::memset(gid, '\'', kGidSize - 1);
  gid[kGidSize - 1] = '\0';
  EXPECT_EQ(std::strlen(remedy(gid)), std::strlen("ROLLBACK PREPARED ''") + 2 * (kGidSize - 1));
}

}  // namespace
}  // namespace pgleak
