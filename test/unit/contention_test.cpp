// Tests of core/contention: which locks and waiters of a leak are kept, and when they are read.
#include "core/contention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

HeldLock lock_of(std::uint32_t relation, int waiters, int mode) {
  return HeldLock{LockId{5, relation, 0, 0, 0, 1}, waiters, static_cast<std::uint8_t>(mode)};
}

std::vector<std::uint32_t> relations(const HeldLocks& held) {
  std::vector<std::uint32_t> result;
  for (int i = 0; i < held.count; i++) result.push_back(held.locks[i].lock.field2);
  return result;
}

using Relations = std::vector<std::uint32_t>;

TEST(ContentionTest, ContendedLocksComeFirstThenTheStrongest) {
  HeldLocks held{};
  add_lock(&held, lock_of(1, 0, 1));
  add_lock(&held, lock_of(2, 0, 8));
  add_lock(&held, lock_of(3, 1, 1));
  add_lock(&held, lock_of(4, 7, 3));
  add_lock(&held, lock_of(5, 0, 8));
  EXPECT_EQ(relations(held), (Relations{4, 3, 2, 5, 1}));
}

TEST(ContentionTest, OnlyTheFirstEightAreKept) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; round++) {
    HeldLocks held{};
    std::vector<HeldLock> all;
    const int count = static_cast<int>(random() % 20);
    for (int i = 0; i < count; i++) {
      all.push_back(lock_of(static_cast<std::uint32_t>(i), static_cast<int>(random() % 3), 1 + random() % 4));
      add_lock(&held, all.back());
    }
    std::stable_sort(all.begin(), all.end(), [](const HeldLock& a, const HeldLock& b) {
      return a.waiters != b.waiters ? a.waiters > b.waiters : a.mode > b.mode;
    });
    Relations expected;
    for (const HeldLock& lock : all)
      if (expected.size() < kKeptLocks) expected.push_back(lock.lock.field2);
    ASSERT_EQ(relations(held), expected) << "round " << round;
  }
}

constexpr std::int64_t kLeak = 7;

ContentionReading reading_of(std::uint32_t relation, int locks, int blocked, Micros at = 1 * kSecond) {
  ContentionReading reading{};
  reading.at = monotonic_at(at);
  reading.locks = locks;
  reading.blocked = blocked;
  add_lock(&reading.held, lock_of(relation, blocked, 8));
  reading.waiting.count = std::min(blocked, kKeptWaiters);
  for (int i = 0; i < reading.waiting.count; i++)
    reading.waiting.sessions[i].pid = static_cast<std::int32_t>(relation);
  return reading;
}

TEST(ContentionTest, TheWorstMomentIsKept) {
  Contention known{};
  note_reading(&known, kLeak, reading_of(1, 10, 2));
  note_reading(&known, kLeak, reading_of(2, 10, 9));
  note_reading(&known, kLeak, reading_of(3, 12, 1));
  EXPECT_EQ(relations(known.held), Relations{3}) << "what it holds now";
  EXPECT_EQ(relations(known.worst_held), Relations{2});
  EXPECT_EQ(known.most_blocked, 9);
  EXPECT_EQ(known.waiting.count, 8);
  EXPECT_EQ(known.waiting.sessions[7].pid, 2);
}

TEST(ContentionTest, WhereNobodyWaitsTheMostLocksCount) {
  Contention known{};
  note_reading(&known, kLeak, reading_of(1, 10, 0));
  note_reading(&known, kLeak, reading_of(2, 0, 0));
  EXPECT_EQ(relations(known.worst_held), Relations{1});
  note_reading(&known, kLeak, reading_of(3, 1, 1));
  EXPECT_EQ(relations(known.worst_held), Relations{3}) << "but one that waits counts more";
  note_reading(&known, kLeak, reading_of(4, 99, 0));
  EXPECT_EQ(relations(known.worst_held), Relations{3});
  EXPECT_EQ(known.waiting.count, 1) << "nor is it forgotten who waited";
}

TEST(ContentionTest, TheNextLeakOfTheSlotBeginsEmpty) {
  Contention known{};
  note_reading(&known, kLeak, reading_of(1, 10, 9));
  EXPECT_TRUE(wants_waiting(known, kLeak + 1, 1));
  note_reading(&known, kLeak + 1, reading_of(2, 1, 0));
  EXPECT_EQ(known.leak_id, kLeak + 1);
  EXPECT_EQ(relations(known.worst_held), Relations{2});
  EXPECT_EQ(known.waiting.count, 0);
}

TEST(ContentionTest, WaitersAreReadAtTheWorstMomentsOnly) {
  Contention known{};
  EXPECT_FALSE(wants_waiting(known, kLeak, 0));
  EXPECT_TRUE(wants_waiting(known, kLeak, 1));
  note_reading(&known, kLeak, reading_of(1, 10, 3));
  EXPECT_FALSE(wants_waiting(known, kLeak, 2));
  EXPECT_TRUE(wants_waiting(known, kLeak, 3)) << "others may have taken their places";
}

TEST(ContentionTest, ALockIsKnownSinceItWasFirstSeen) {
  const auto held_since = [](const Contention& known) { return known.held_since[0]; };
  const auto reading = [](int mode, Micros at) {
    ContentionReading result{};
    result.at = monotonic_at(at);
    result.locks = 1;
    add_lock(&result.held, lock_of(1, 0, mode));
    return result;
  };
  Contention known{};
  note_reading(&known, kLeak, reading(4, 1 * kSecond));
  note_reading(&known, kLeak, reading(4, 2 * kSecond));
  EXPECT_EQ(held_since(known), monotonic_at(1 * kSecond));
  note_reading(&known, kLeak, reading(8, 3 * kSecond));
  EXPECT_EQ(held_since(known), monotonic_at(3 * kSecond)) << "it was a weaker one before";
  note_reading(&known, kLeak, reading_of(2, 1, 0, 4 * kSecond));
  note_reading(&known, kLeak, reading(8, 5 * kSecond));
  EXPECT_EQ(held_since(known), monotonic_at(5 * kSecond)) << "it was gone in between";
  note_reading(&known, kLeak + 1, reading(8, 6 * kSecond));
  EXPECT_EQ(held_since(known), monotonic_at(6 * kSecond)) << "that of another leak";
}

HeldResources held_of(int locks, int blocked) {
  HeldResources held{};
  held.locks = locks;
  held.blocked = blocked;
  return held;
}

ImpactSample impact_of(int locks, int blocked) {
  ImpactSample impact = kNoImpact;
  impact.locks = locks;
  impact.blocked = blocked;
  return impact;
}

TEST(ContentionTest, LocksAreReadWhenTheirNumberChanges) {
  Contention known{};
  note_reading(&known, kLeak, reading_of(1, 10, 0));
  const MonotonicTime later = monotonic_at(kHour);
  EXPECT_FALSE(is_stale(known, kLeak, impact_of(10, 0), held_of(10, 0), later));
  EXPECT_TRUE(is_stale(known, kLeak, impact_of(10, 0), held_of(11, 0), later));
  EXPECT_TRUE(is_stale(known, kLeak, impact_of(10, 0), held_of(10, 1), later));
  EXPECT_TRUE(is_stale(known, kLeak, impact_of(10, 1), held_of(10, 0), later));
}

TEST(ContentionTest, LocksWithWaitersAreReadOnceASecond) {
  Contention known{};
  note_reading(&known, kLeak, reading_of(1, 10, 2, 5 * kSecond));
  const auto stale_at = [&known](Micros at) {
    return is_stale(known, kLeak, impact_of(10, 2), held_of(10, 2), monotonic_at(at));
  };
  EXPECT_FALSE(stale_at(6 * kSecond - 1_us));
  EXPECT_TRUE(stale_at(6 * kSecond));
  EXPECT_TRUE(is_stale(known, kLeak + 1, impact_of(10, 2), held_of(10, 2), monotonic_at(5 * kSecond)))
      << "what is known is another leak's";
}

}  // namespace
}  // namespace pgleak
