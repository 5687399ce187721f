// Tests of core/leak_pattern: what the leaks of a pool have in common, and which of them are lost
// connections.
#include "core/leak_pattern.hpp"

#include <gtest/gtest.h>

#include "leak_origin.hpp"
#include "samples.hpp"

namespace pgleak {

inline void PrintTo(LeakPattern pattern, std::ostream* out) { *out << static_cast<int>(pattern); }

namespace {

Episode idle_episode(Micros began, Micros detected) {
  Episode episode{};
  episode.query_id = 81;
  episode.xact_start = wall_at(began);
  episode.idle_since = wall_at(began);
  episode.detected_at = wall_at(detected);
  episode.detected_mono = monotonic_at(detected);
  episode.progress.last_state = SessionState::kIdleInTransaction;
  return episode;
}

TEST(LeakSummaryTest, KnowsWhatAllLeaksHaveInCommon) {
  Episode episode = idle_episode(700_us, 900_us);
  LeakSummary leaks{};
  leaks.add(episode, origin("/orders", "SELECT 42"));
  episode.idle_since = wall_at(300_us);
  leaks.add(episode, origin("/orders", "SELECT 43"));
  EXPECT_EQ(leaks.count, 2);
  EXPECT_EQ(leaks.idle, 2);
  EXPECT_EQ(leaks.since, wall_at(300_us));
  EXPECT_EQ(leaks.oldest_on, monotonic_at(900_us));
  EXPECT_EQ(leaks.query_id, 81U);
  EXPECT_STREQ(leaks.route, "/orders");
  EXPECT_STREQ(leaks.statement, "SELECT 42");  // one query with different constants
  episode.query_id = 82;
  episode.progress.last_state = SessionState::kActive;
  leaks.add(episode, origin("", "SELECT 42"));
  episode.query_id = 81;
  leaks.add(episode, origin("/orders", "UPDATE"));
  EXPECT_EQ(leaks.query_id, 0U);
  EXPECT_STREQ(leaks.route, "");
  EXPECT_STREQ(leaks.statement, "");
  EXPECT_EQ(leaks.idle, 2);
}

TEST(LeakSummaryTest, AStatementWithoutAnIdIsKnownByItsWords) {
  Episode episode = idle_episode(1_us, 2_us);
  episode.query_id = 0;
  LeakSummary leaks{};
  leaks.add(episode, origin("", "SELECT 1"));
  leaks.add(episode, origin("", "SELECT 1"));
  EXPECT_STREQ(leaks.statement, "SELECT 1");
  leaks.add(episode, origin("", "SELECT 2"));
  EXPECT_STREQ(leaks.statement, "");
}

class LeakPatternTest : public testing::Test {
 protected:
  // `count` leaks of sessions whose transactions began one after the other.
  void leaks(int count, StatementKind kind, Micros apart) {
    leaks_ = LeakSummary{};
    for (int i = 0; i < count; i++) {
      const Micros began = kMinute + i * apart;
      leaks_.add(idle_episode(began, began + kSecond), origin("", "SELECT 1", kind));
    }
    facts_ = PatternFacts{count, 0, count, count, false, 0_us};
  }

  LeakPattern pattern() const { return find_pattern(leaks_, recent_, facts_, now_); }

  LeakSummary leaks_{};
  LeakEnds recent_{};
  PatternFacts facts_{};
  MonotonicTime now_ = monotonic_at(2 * kMinute);
};

TEST_F(LeakPatternTest, WithoutLeaksThereIsNone) { EXPECT_EQ(pattern(), LeakPattern::kNone); }

TEST_F(LeakPatternTest, APoolWaitsForItself) {
  leaks(5, StatementKind::kBegin, 10 * kMillisecond);
  EXPECT_EQ(pattern(), LeakPattern::kNested);
  EXPECT_TRUE(is_loss(pattern()));
  leaks(5, StatementKind::kBegin, 250 * kMillisecond);
  EXPECT_EQ(pattern(), LeakPattern::kNested);  // all within a second
  leaks(5, StatementKind::kBegin, 251 * kMillisecond);
  EXPECT_EQ(pattern(), LeakPattern::kLost);  // one after the other
  leaks(1, StatementKind::kBegin, 0_us);
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, APoolInWhichSomebodyWorksDoesNotWaitForItself) {
  leaks(5, StatementKind::kBegin, 0_us);
  facts_.connections = facts_.in_use = 6;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
  leaks(4, StatementKind::kBegin, 0_us);
  leaks_.add(idle_episode(kMinute, kMinute), origin("", "UPDATE stock"));
  facts_ = PatternFacts{5, 0, 5, 5, false, 0_us};
  EXPECT_EQ(pattern(), LeakPattern::kLost);  // one of them has done something
}

TEST_F(LeakPatternTest, ATestQueryOpensATransactionInEveryFreeConnection) {
  leaks(10, StatementKind::kProbe, kSecond);
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
  EXPECT_FALSE(is_loss(pattern()));
  facts_.connections = 11;  // one is between two statements
  facts_.idle = 1;
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
  facts_.connections = 15;  // others are given back without a transaction
  facts_.idle = 5;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, TheFirstOfThemIsLikeTheOthers) {
  leaks(1, StatementKind::kProbe, 0_us);
  EXPECT_EQ(pattern(), LeakPattern::kLost);
  facts_ = PatternFacts{10, 0, 10, 9, false, 0_us};
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
  facts_.idle_in_transaction = 4;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, OneInTenMayBeADifferentLeak) {
  leaks(9, StatementKind::kProbe, kSecond);
  leaks_.add(idle_episode(kMinute, kMinute), origin("", "UPDATE stock"));
  facts_.connections = facts_.in_use = 10;
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
  leaks_.add(idle_episode(kMinute, kMinute), origin("", "UPDATE stock"));
  facts_.connections = facts_.in_use = 11;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, DifferentStatementsAreNotOneTestQuery) {
  for (const char* statement : {"SELECT 1", "SELECT 2", "SELECT 3"})
    leaks_.add(idle_episode(kMinute, kMinute), origin("", statement, StatementKind::kProbe));
  facts_ = PatternFacts{3, 0, 3, 3, true, 0_us};
  EXPECT_EQ(leaks_.probes, 1);
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

// Code that checks its connection may leak as well: then nothing moves.
TEST_F(LeakPatternTest, WhereNothingEverReturnsATestQueryProvesNothing) {
  leaks(10, StatementKind::kProbe, kSecond);
  facts_.without_turnover = 9 * kSecond;
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
  facts_.without_turnover = 10 * kSecond;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
  facts_.has_returned = true;  // a quiet night
  EXPECT_EQ(pattern(), LeakPattern::kProbe);
}

TEST_F(LeakPatternTest, CodeThatNamesItselfIsNoTestQuery) {
  for (int i = 0; i < 3; i++)
    leaks_.add(idle_episode(kMinute, kMinute), origin("/health", "SELECT 1", StatementKind::kProbe));
  facts_ = PatternFacts{3, 0, 3, 3, true, 0_us};
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, AKeepaliveIsNoTestQuery) {
  LeakOrigin keepalive = origin("", "SELECT 1", StatementKind::kProbe);
  keepalive.touches_nothing = false;
  leaks_.add(idle_episode(kMinute, kMinute), keepalive);
  leaks_.add(idle_episode(kMinute, kMinute), keepalive);
  facts_ = PatternFacts{2, 0, 2, 2, true, 0_us};
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, LeaksThatAllCommitAreSlowRequests) {
  leaks(3, StatementKind::kOther, kSecond);
  for (int i = 0; i < 94; i++) recent_.add(Outcome::kCommitted, 40 * kSecond);
  EXPECT_EQ(pattern(), LeakPattern::kSlow);
  EXPECT_FALSE(is_loss(pattern()));
  recent_.add(Outcome::kDisconnected, kSecond);
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, TwoThatCommittedProveNothing) {
  leaks(3, StatementKind::kOther, kSecond);
  recent_.add(Outcome::kCommitted, kHour);
  recent_.add(Outcome::kCommitted, kHour);
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST_F(LeakPatternTest, ALeakThatIsMuchOlderThanThoseThatCommittedIsNotLikeThem) {
  leaks(3, StatementKind::kOther, kSecond);
  for (int i = 0; i < 94; i++) recent_.add(Outcome::kCommitted, kSecond);
  now_ = leaks_.oldest_on + 7 * kSecond;
  EXPECT_EQ(pattern(), LeakPattern::kSlow);
  now_ += kMillisecond;
  EXPECT_EQ(pattern(), LeakPattern::kLost);
}

TEST(RecentEndsTest, ForgetsAfterAnHour) {
  RecentEnds ends{};
  LeakEnds one{};
  one.add(Outcome::kCommitted, 3 * kSecond);
  one.add(Outcome::kTerminated, 9 * kSecond);
  MonotonicTime now = monotonic_at(kHour);
  ends.record(one, now);
  EXPECT_EQ(ends.sum().count, 2);
  EXPECT_EQ(ends.sum().committed, 1);
  EXPECT_EQ(ends.sum().returned, 1);
  EXPECT_EQ(ends.sum().terminated, 1);
  EXPECT_EQ(ends.sum().longest, 3 * kSecond);
  now += 30 * kMinute;
  ends.record(one, now);
  EXPECT_EQ(ends.sum().count, 4);
  now += 30 * kMinute;
  ends.record(LeakEnds{}, now);
  EXPECT_EQ(ends.sum().count, 2);
  now += 3 * kHour;
  ends.record(LeakEnds{}, now);
  EXPECT_EQ(ends.sum().count, 0);
}

}  // namespace
}  // namespace pgleak
