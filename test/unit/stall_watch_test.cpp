// Tests of core/stall_watch: what counts as progress, what is our own doing, and how long there was none.
#include "core/stall_watch.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "samples.hpp"

namespace pgleak {
namespace {

// It waits for its client to send.
constexpr ProgressEvidence kEvidence{10, false, 0, 5'000'000, false, std::nullopt, std::nullopt};
// It waits for its client to read.
constexpr ProgressEvidence kSending{10, false, 0, 5'000'000, true, 8192, std::nullopt};

// A session that waits for its client, and a scanner that looks at it from time to time.
class StallWatchTest : public testing::Test {
 protected:
  void look() { watch_.observe(evidence_, time_.monotonic()); }
  void pass(Micros duration) { time_.pass(duration); }
  // Nothing happens for `duration`, and the scanner looks every second.
  void be_stuck(Micros duration) {
    look();
    for (Micros passed{0}; passed < duration; passed += kSecond) {
      pass(kSecond);
      look();
    }
  }

  FakeTime time_;
  ProgressEvidence evidence_ = kEvidence;
  StallWatch watch_{};
};

TEST_F(StallWatchTest, BeforeTheFirstLookThereIsNoAge) {
  EXPECT_EQ(watch_.age(), std::nullopt);
  EXPECT_TRUE(watch_.wants_evidence(time_.monotonic()));
}

TEST_F(StallWatchTest, TheFirstLookProvesNothing) {
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, TheAgeIsTheTimeBetweenTwoLooksThatSeeTheSame) {
  be_stuck(kMinute);
  EXPECT_EQ(watch_.age(), kMinute);
  pass(500 * kMillisecond);  // not looked at
  EXPECT_EQ(watch_.age(), kMinute);
}

TEST_F(StallWatchTest, AnyEvidenceThatChangesIsProgress) {
  const std::pair<ProgressEvidence, ProgressEvidence> changes[] = {
      {kEvidence, {11, false, 0, 5'000'000, false, std::nullopt, std::nullopt}},
      {kEvidence, {10, true, 0, 5'000'000, false, std::nullopt, std::nullopt}},
      {kEvidence, {10, false, 1, 5'000'000, false, std::nullopt, std::nullopt}},
      {kEvidence, {10, false, 0, 5'000'001, false, std::nullopt, std::nullopt}},
      {kEvidence, kSending},
      {kSending, {10, false, 0, 5'000'000, true, 8191, std::nullopt}},
      {kSending, {10, false, 0, 5'000'001, true, 8192, std::nullopt}},
  };
  for (const auto& [before, after] : changes) {
    SCOPED_TRACE(&before - &changes[0].first);
    watch_ = StallWatch{};
    evidence_ = before;
    be_stuck(kMinute);
    pass(kSecond);
    evidence_ = after;
    look();
    EXPECT_EQ(watch_.age(), 0_us);
    pass(kSecond);
    look();
    EXPECT_EQ(watch_.age(), kSecond);
  }
}

// Any signal makes a process run, and a process that is woken may find room to send more.
TEST_F(StallWatchTest, WhereTheBytesAreCountedNothingElseButAStatementIsProgress) {
  evidence_ = ProgressEvidence{10, true, 3, 5'000'000, true, 8192, 100'000};
  be_stuck(kMinute);
  evidence_.run_time = 6'000'000;
  evidence_.unread = 9000;
  evidence_.counters = 4;
  pass(kSecond);
  look();
  EXPECT_EQ(watch_.age(), kMinute + kSecond);
  evidence_.transferred = 100'001;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
  be_stuck(kMinute);
  evidence_.change_count = 11;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, BytesThatAreCountedOrNotAreAChange) {
  be_stuck(kMinute);
  evidence_.transferred = 100'000;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
  be_stuck(kMinute);
  evidence_.transferred.reset();
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

// What is still on its way between the two ends of a connection is missing in the count.
TEST_F(StallWatchTest, FewerBytesThanBeforeAndTheSameAgainAreNoProgress) {
  evidence_ = ProgressEvidence{10, true, 3, 5'000'000, true, 8192, 100'000};
  be_stuck(kMinute);
  evidence_.transferred = 99'000;
  pass(kSecond);
  look();
  evidence_.transferred = 100'000;
  pass(kSecond);
  look();
  EXPECT_EQ(watch_.age(), kMinute + 2 * kSecond);
  evidence_.transferred = 100'001;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

// Any signal wakes a session for a moment.
TEST_F(StallWatchTest, AMomentOfSomethingElseDoesNotStartTheClockAgain) {
  be_stuck(kMinute);
  watch_.interrupt(time_.monotonic());
  EXPECT_EQ(watch_.age(), std::nullopt);
  pass(kSecond);
  look();
  EXPECT_EQ(watch_.age(), kMinute + kSecond);
  pass(2 * kSecond);
  watch_.interrupt(time_.monotonic());
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, EvidenceThatGoesBackIsAChangeToo) {
  be_stuck(kMinute);
  evidence_.run_time = 1;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, ASlowClientIsNeverStalled) {
  for (int i = 0; i < 600; i++) {
    look();
    EXPECT_EQ(watch_.age(), 0_us);
    pass(kSecond);
    evidence_.run_time = *evidence_.run_time + 1;
  }
}

// --- what is not known ---

TEST_F(StallWatchTest, EitherRunTimeOrCountersAreEvidenceOfAClientThatSends) {
  EXPECT_TRUE((ProgressEvidence{10, false, 0, 1, false, std::nullopt, std::nullopt}).is_known());
  EXPECT_TRUE((ProgressEvidence{10, true, 0, std::nullopt, false, std::nullopt, std::nullopt}).is_known());
  EXPECT_FALSE((ProgressEvidence{10, false, 0, std::nullopt, false, std::nullopt, std::nullopt}).is_known());
}

TEST_F(StallWatchTest, BytesThatAreCountedAreEvidenceEnough) {
  for (const bool is_sending : {false, true})
    EXPECT_TRUE((ProgressEvidence{10, false, 0, std::nullopt, is_sending, std::nullopt, 1}).is_known());
}

// The process sleeps while a client reads slowly.
TEST_F(StallWatchTest, OnlyTheQueueIsEvidenceOfAClientThatReads) {
  EXPECT_TRUE((ProgressEvidence{10, false, 0, 1, true, 8192, std::nullopt}).is_known());
  EXPECT_FALSE((ProgressEvidence{10, true, 0, 1, true, std::nullopt, std::nullopt}).is_known());
  EXPECT_FALSE((ProgressEvidence{10, true, 0, std::nullopt, true, 8192, std::nullopt}).is_known());
}

TEST_F(StallWatchTest, WithoutEvidenceNobodyIsStalled) {
  evidence_.run_time.reset();
  be_stuck(kHour);
  EXPECT_EQ(watch_.age(), std::nullopt);
}

TEST_F(StallWatchTest, WhatIsNotKnownIsReadOnceASecondAllTheSame) {
  evidence_.run_time.reset();
  look();
  EXPECT_FALSE(watch_.wants_evidence(time_.monotonic()));
  pass(kSecond);
  EXPECT_TRUE(watch_.wants_evidence(time_.monotonic()));
}

TEST_F(StallWatchTest, EvidenceThatIsLostEndsTheMeasurement) {
  be_stuck(kMinute);
  evidence_.run_time.reset();
  look();
  EXPECT_EQ(watch_.age(), std::nullopt);
  evidence_ = kEvidence;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, CountersAloneAreEnough) {
  evidence_ = ProgressEvidence{10, true, 77, std::nullopt, false, std::nullopt, std::nullopt};
  be_stuck(kMinute);
  EXPECT_EQ(watch_.age(), kMinute);
  evidence_.counters++;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, StopForgetsAll) {
  be_stuck(kMinute);
  watch_.disregard_next();
  watch_.stop();
  EXPECT_EQ(watch_.age(), std::nullopt);
  EXPECT_FALSE(watch_.disregards_next);
  EXPECT_TRUE(watch_.wants_evidence(time_.monotonic()));
}

// --- how often it looks ---

TEST_F(StallWatchTest, EvidenceIsReadOnceASecond) {
  look();
  EXPECT_FALSE(watch_.wants_evidence(time_.monotonic()));
  EXPECT_EQ(watch_.next_check_in(time_.monotonic()), kSecond);
  pass(kSecond - 1_us);
  EXPECT_FALSE(watch_.wants_evidence(time_.monotonic()));
  EXPECT_EQ(watch_.next_check_in(time_.monotonic()), 1_us);
  pass(1_us);
  EXPECT_TRUE(watch_.wants_evidence(time_.monotonic()));
  EXPECT_EQ(watch_.next_check_in(time_.monotonic()), 0_us);
  pass(kMinute);
  EXPECT_EQ(watch_.next_check_in(time_.monotonic()), 0_us);
}

// --- what pgleak does itself ---

TEST_F(StallWatchTest, OurOwnSignalIsNoProgress) {
  be_stuck(kMinute);
  watch_.disregard_next();
  pass(kSecond);
  evidence_.run_time = *evidence_.run_time + 100'000;
  look();
  EXPECT_EQ(watch_.age(), kMinute + kSecond);
}

TEST_F(StallWatchTest, OnlyTheNextLookIsDisregarded) {
  be_stuck(kMinute);
  watch_.disregard_next();
  pass(kSecond);
  look();
  pass(kSecond);
  evidence_.run_time = *evidence_.run_time + 1;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

TEST_F(StallWatchTest, WhatTheSignalLeftIsComparedWithFromThenOn) {
  be_stuck(kMinute);
  watch_.disregard_next();
  evidence_.run_time = *evidence_.run_time + 100'000;
  be_stuck(kMinute);
  EXPECT_EQ(watch_.age(), 2 * kMinute);
}

// A signal makes a process run, but sends no data and starts no statement.
TEST_F(StallWatchTest, WhatNoSignalCanDoIsProgressAllTheSame) {
  const ProgressEvidence changed[] = {
      {11, true, 3, 6'000'000, true, 10, std::nullopt},
      {10, false, 3, 6'000'000, true, 10, std::nullopt},
      {10, true, 4, 6'000'000, true, 10, std::nullopt},
      {10, true, 3, 6'000'000, true, 9, std::nullopt},
  };
  for (const ProgressEvidence& next : changed) {
    watch_ = StallWatch{};
    evidence_ = ProgressEvidence{10, true, 3, 5'000'000, true, 10, std::nullopt};
    be_stuck(kMinute);
    watch_.disregard_next();
    evidence_ = next;
    look();
    EXPECT_EQ(watch_.age(), 0_us) << &next - changed;
  }
}

TEST_F(StallWatchTest, ASignalBeforeTheFirstLookChangesNothing) {
  watch_.disregard_next();
  look();
  EXPECT_EQ(watch_.age(), 0_us);
  pass(kSecond);
  evidence_.run_time = *evidence_.run_time + 1;
  look();
  EXPECT_EQ(watch_.age(), 0_us);
}

}  // namespace
}  // namespace pgleak
