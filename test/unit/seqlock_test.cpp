// Tests of core/seqlock: a reader gets a whole value or none, and never waits for a writer.
#include "core/seqlock.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>

#include "threads.hpp"

namespace pgleak {
namespace {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "processes share it");

constexpr int kWords = 64;

// A value of several cache lines. It is whole if all its words are equal.
struct Wide {
  std::uint64_t word[kWords];
};

void fill(Wide* wide, std::uint64_t with) {
  for (std::uint64_t& word : wide->word) word = with;
}

bool is_whole(const Wide& wide) {
  for (const std::uint64_t word : wide.word) {
    if (word != wide.word[0]) return false;
  }
  return true;
}

TEST(VersionedTest, ZeroedMemoryIsAReadableZero) {
  SeqLock<Wide> shared{};
  Wide copy;
  fill(&copy, 99);
  ASSERT_TRUE(shared.read(&copy));
  EXPECT_TRUE(is_whole(copy));
  EXPECT_EQ(copy.word[0], 0U);
}

TEST(VersionedTest, WhatWasWrittenIsRead) {
  SeqLock<Wide> shared{};
  for (std::uint64_t n = 1; n <= 100; n++) {
    shared.write([n](Wide* value) { fill(value, n); });
    Wide copy{};
    ASSERT_TRUE(shared.read(&copy));
    EXPECT_TRUE(is_whole(copy));
    EXPECT_EQ(copy.word[0], n);
    EXPECT_EQ(shared.current().word[0], n);
  }
}

TEST(VersionedTest, AWriterMayChangeAPart) {
  SeqLock<Wide> shared{};
  shared.write([](Wide* value) { fill(value, 7); });
  shared.write([](Wide* value) { value->word[kWords - 1] = 8; });
  Wide copy{};
  ASSERT_TRUE(shared.read(&copy));
  EXPECT_EQ(copy.word[0], 7U);
  EXPECT_EQ(copy.word[kWords - 1], 8U);
}

TEST(VersionedTest, AReaderGivesUpOnAWriterThatDoesNotFinish) {
  SeqLock<Wide> shared{};
  Wide copy{};
  bool was_read = true;
  shared.write([&](Wide*) { was_read = shared.read(&copy); });
  EXPECT_FALSE(was_read);
  EXPECT_TRUE(shared.read(&copy)) << "and can read it afterwards";
}

TEST(VersionedTest, TheWriterSeesItsOwnValueWhileItWrites) {
  SeqLock<Wide> shared{};
  shared.write([](Wide* value) { fill(value, 5); });
  shared.write([&](Wide* value) {
    EXPECT_EQ(value->word[0], 5U);
    EXPECT_EQ(&shared.current(), value);
  });
}

TEST(VersionedTest, AReaderOfAnotherThreadNeverSeesATornOrAnOlderValue) {
  constexpr std::uint64_t kReads = 200'000;
  constexpr std::uint64_t kDistinctValues = 1000;
  SeqLock<Wide> shared{};
  std::atomic<bool> stop{false};

  std::thread writer([&] {
    for (std::uint64_t n = 1; !stop.load(std::memory_order_relaxed); n++) {
      shared.write([n](Wide* value) { fill(value, n); });
      dawdle(static_cast<unsigned>(n * 7 % 400));  // a writer without pauses would starve the reader
    }
  });

  std::uint64_t reads = 0;
  std::uint64_t distinct = 0;
  std::uint64_t torn = 0;
  std::uint64_t older = 0;
  std::uint64_t last = 0;
  while (reads < kReads || distinct < kDistinctValues) {
    Wide copy;
    if (!shared.read(&copy)) {
      std::this_thread::yield();  // the writer lost its processor during a write
      continue;
    }
    reads++;
    if (!is_whole(copy)) torn++;
    if (copy.word[0] < last) older++;
    if (copy.word[0] != last) distinct++;
    last = copy.word[0];
  }
  stop.store(true, std::memory_order_relaxed);
  writer.join();

  EXPECT_EQ(torn, 0U);
  EXPECT_EQ(older, 0U);
}

}  // namespace
}  // namespace pgleak
