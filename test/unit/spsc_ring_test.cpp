// Tests of core/spsc_ring: every element comes out once, whole and in order, and stays until the consumer is
// done with it.
#include "core/spsc_ring.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "threads.hpp"

namespace pgleak {
namespace {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "processes share it");

TEST(RingTest, ZeroedMemoryIsAnEmptyRing) {
  SpscRing ring{};
  EXPECT_EQ(ring.size(), 0U);
  EXPECT_FALSE(ring.is_full(1));
  EXPECT_EQ(ring.next_to_write(), 0U);
  EXPECT_EQ(ring.next_to_read(), 0U);
}

TEST(RingTest, AnEventCountsOnlyWhenItIsFinished) {
  SpscRing ring{};
  EXPECT_EQ(ring.next_to_write(), 0U);
  EXPECT_EQ(ring.size(), 0U);
  ring.finish_write();
  EXPECT_EQ(ring.size(), 1U);
  EXPECT_EQ(ring.next_to_write(), 1U);
  EXPECT_EQ(ring.next_to_read(), 0U);
}

TEST(RingTest, IsFullWhenAsManyEventsWaitAsThereArePlaces) {
  for (const std::uint64_t capacity : {1U, 2U, 7U}) {
    SpscRing ring{};
    for (std::uint64_t i = 0; i < capacity; i++) {
      EXPECT_FALSE(ring.is_full(capacity)) << i << " of " << capacity;
      ring.finish_write();
    }
    EXPECT_TRUE(ring.is_full(capacity)) << capacity;
    ring.finish_read(1);
    EXPECT_FALSE(ring.is_full(capacity)) << capacity;
    ring.finish_write();
    EXPECT_TRUE(ring.is_full(capacity)) << capacity;
  }
}

TEST(RingTest, AConsumerThatFailsFindsTheSameEventsAgain) {
  SpscRing ring{};
  for (int i = 0; i < 5; i++) ring.finish_write();
  EXPECT_EQ(ring.next_to_read(), 0U);
  EXPECT_EQ(ring.next_to_read(), 0U) << "reading takes nothing out";
  EXPECT_EQ(ring.size(), 5U);
}

TEST(RingTest, ABatchIsTakenOutAsAWhole) {
  SpscRing ring{};
  for (int i = 0; i < 5; i++) ring.finish_write();
  ring.finish_read(3);
  EXPECT_EQ(ring.size(), 2U);
  EXPECT_EQ(ring.next_to_read(), 3U);
  ring.finish_read(0);
  EXPECT_EQ(ring.next_to_read(), 3U);
  ring.finish_read(2);
  EXPECT_EQ(ring.size(), 0U);
  EXPECT_EQ(ring.next_to_write(), 5U) << "the numbers go on";
}

TEST(RingTest, NumbersGoOnLongAfterThePlacesWereFirstUsed) {
  constexpr std::uint64_t kCapacity = 3;
  SpscRing ring{};
  for (std::uint64_t i = 0; i < 1000; i++) {
    ASSERT_EQ(ring.next_to_write(), i);
    ring.finish_write();
    ASSERT_FALSE(ring.is_full(kCapacity));
    ASSERT_EQ(ring.next_to_read(), i);
    ring.finish_read(1);
  }
}

// An element that takes more than one store to write, so that a half-written one would show.
struct TestEvent {
  std::uint64_t number;
  std::uint64_t check[6];
};

void run_producer_and_consumer(std::uint64_t capacity, std::uint64_t events, std::uint64_t largest_batch) {
  SpscRing ring{};
  std::vector<TestEvent> places(capacity);

  std::thread producer([&] {
    for (std::uint64_t n = 0; n < events; n++) {
      spin_until([&] { return !ring.is_full(capacity); });
      TestEvent& place = places[ring.next_to_write() % capacity];
      place.number = n;
      for (std::uint64_t i = 0; i < 6; i++) place.check[i] = n * 31 + i;
      ring.finish_write();
    }
  });

  std::uint64_t expected = 0;
  std::uint64_t wrong = 0;
  std::uint64_t overfull = 0;
  while (expected < events) {
    spin_until([&] { return ring.size() > 0; });
    const std::uint64_t waiting = ring.size();
    if (waiting > capacity) overfull++;
    const std::uint64_t batch = waiting < largest_batch ? waiting : largest_batch;
    for (std::uint64_t k = 0; k < batch; k++, expected++) {
      const TestEvent& event = places[(ring.next_to_read() + k) % capacity];
      if (event.number != expected) wrong++;
      for (std::uint64_t i = 0; i < 6; i++) {
        if (event.check[i] != expected * 31 + i) wrong++;
      }
    }
    ring.finish_read(batch);
  }
  producer.join();

  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(overfull, 0U);
  EXPECT_EQ(ring.size(), 0U);
  EXPECT_EQ(ring.next_to_read(), events);
}

TEST(RingTest, TwoThreadsMillionsOfEventsInOrder) { run_producer_and_consumer(1024, 5'000'000, 1000); }

TEST(RingTest, TwoThreadsThroughARingThatIsAlmostAlwaysFullOrEmpty) {
  run_producer_and_consumer(3, 500'000, 2);
}

TEST(RingTest, TwoThreadsThroughASinglePlace) { run_producer_and_consumer(1, 200'000, 1); }

}  // namespace
}  // namespace pgleak
