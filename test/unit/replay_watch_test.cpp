// Tests of core/replay_watch: since when replay on a standby has waited, and for whom.
#include "core/replay_watch.hpp"

#include <gtest/gtest.h>

#include <type_traits>

#include "samples.hpp"

namespace pgleak {
namespace {

static_assert(std::is_trivially_copyable<ReplayWatch>::value, "lives in shared memory");

constexpr std::uint32_t kReader = 700;
constexpr std::uint32_t kNewerReader = 800;

class ReplayWatchTest : public testing::Test {
 protected:
  static Now at(std::int64_t milliseconds) {
    const Micros time = 1000 * kSecond + milliseconds * kMillisecond;
    return Now{wall_at(2 * time), monotonic_at(time)};
  }

  // Observes the same every 100 ms, up to but not including `to`.
  void run(std::int64_t from, std::int64_t to, ReplayConflict seen, std::uint32_t oldest) {
    for (std::int64_t ms = from; ms < to; ms += 100) watch_.observe(seen, oldest, at(ms));
  }

  ReplayWatch watch_{};
};

TEST_F(ReplayWatchTest, NobodyIsBlamedWhileReplayDoesNotWait) {
  run(0, 5000, ReplayConflict::kNone, kReader);
  EXPECT_EQ(watch_.wait.conflict, ReplayConflict::kNone);
  EXPECT_FALSE(watch_.wait.since.is_set());
  EXPECT_EQ(watch_.wait.xmin, 0U);
}

TEST_F(ReplayWatchTest, TheOldestSnapshotIsBlamedOnceReplayHasLookedAgain) {
  run(0, 1600, ReplayConflict::kSnapshot, kReader);
  EXPECT_EQ(watch_.wait.xmin, 0U);
  run(1600, 1700, ReplayConflict::kSnapshot, kReader);
  EXPECT_EQ(watch_.wait.xmin, kReader);
  EXPECT_EQ(watch_.wait.since, at(0).wall);
}

// Replay sleeps on for up to a second.
TEST_F(ReplayWatchTest, TheNextOldestIsNotBlamedForTheSleepThatTheOldestHasLeft) {
  run(0, 3000, ReplayConflict::kSnapshot, kReader);
  run(3000, 4100, ReplayConflict::kSnapshot, kNewerReader);
  EXPECT_EQ(watch_.wait.xmin, 0U);
  run(4100, 6000, ReplayConflict::kNone, kNewerReader);
  EXPECT_EQ(watch_.wait.conflict, ReplayConflict::kNone);
}

TEST_F(ReplayWatchTest, TheNextOldestIsBlamedIfReplayWaitsOn) {
  run(0, 3000, ReplayConflict::kSnapshot, kReader);
  run(3000, 5000, ReplayConflict::kSnapshot, kNewerReader);
  EXPECT_EQ(watch_.wait.xmin, kNewerReader);
  EXPECT_EQ(watch_.wait.since, at(0).wall);
}

TEST_F(ReplayWatchTest, AMomentBetweenTwoSleepsEndsNoWait) {
  run(0, 3000, ReplayConflict::kSnapshot, kReader);
  run(3000, 3500, ReplayConflict::kNone, kReader);
  run(3500, 3600, ReplayConflict::kSnapshot, kReader);
  EXPECT_EQ(watch_.wait.since, at(0).wall);
  EXPECT_EQ(watch_.wait.xmin, kReader);
}

TEST_F(ReplayWatchTest, AnotherWaitBeginsAnew) {
  run(0, 3000, ReplayConflict::kSnapshot, kReader);
  run(3000, 5000, ReplayConflict::kNone, kReader);
  run(5000, 5100, ReplayConflict::kSnapshot, kReader);
  EXPECT_EQ(watch_.wait.since, at(5000).wall);
  EXPECT_EQ(watch_.wait.xmin, 0U);
}

TEST_F(ReplayWatchTest, AGapInTheObservationBeginsAnew) {
  run(0, 3000, ReplayConflict::kSnapshot, kReader);
  run(60000, 60100, ReplayConflict::kSnapshot, kReader);
  EXPECT_EQ(watch_.wait.since, at(60000).wall);
}

TEST_F(ReplayWatchTest, ATablespaceNeedsNoSnapshot) {
  run(0, 3000, ReplayConflict::kTablespace, kReader);
  EXPECT_EQ(watch_.wait.conflict, ReplayConflict::kTablespace);
  EXPECT_EQ(watch_.wait.since, at(0).wall);
  EXPECT_EQ(watch_.wait.xmin, 0U);
}

TEST_F(ReplayWatchTest, WithoutSnapshotsNobodyIsBlamed) {
  run(0, 3000, ReplayConflict::kSnapshot, 0);
  EXPECT_EQ(watch_.wait.conflict, ReplayConflict::kSnapshot);
  EXPECT_EQ(watch_.wait.xmin, 0U);
}

}  // namespace
}  // namespace pgleak
