// Tests of core/xid_clock: since when a transaction id has been assigned, at least.
#include "core/xid_clock.hpp"

#include <gtest/gtest.h>

#include <type_traits>

#include "samples.hpp"

namespace pgleak {
namespace {

static_assert(std::is_trivially_copyable<XidClock>::value, "lives in shared memory");

constexpr MonotonicTime at(std::int64_t seconds) { return monotonic_at((1000 + seconds) * kSecond); }

constexpr std::int64_t kDay = 86400;

class XidClockTest : public testing::Test {
 protected:
  // A sample each second: id 1000 + n is assigned between second n and the next.
  void run_seconds(std::int64_t from, std::int64_t to) {
    for (std::int64_t second = from; second < to; second++) clock_.add(sample(second));
  }

  static XidSample sample(std::int64_t second) {
    return XidSample{at(second), 1000 + static_cast<std::uint64_t>(second)};
  }

  std::int64_t seconds_since(std::uint64_t xid, std::int64_t now) const {
    const std::optional<Micros> age = clock_.age_of(xid, sample(now));
    return age ? *age / kSecond : -1;
  }

  XidClock clock_{};
};

TEST_F(XidClockTest, AnIdThatIsNotAssignedHasNoAge) {
  run_seconds(0, 10);
  EXPECT_EQ(seconds_since(1009, 9), -1);
  EXPECT_EQ(seconds_since(2000, 9), -1);
}

TEST_F(XidClockTest, WithoutSamplesAnAssignedIdIsZeroSecondsOld) { EXPECT_EQ(seconds_since(999, 0), 0); }

TEST_F(XidClockTest, AnIdIsAsOldAsTheFirstSampleAfterIt) {
  run_seconds(0, 10);
  EXPECT_EQ(seconds_since(1000, 9), 8);
  EXPECT_EQ(seconds_since(1004, 9), 4);
  EXPECT_EQ(seconds_since(1008, 9), 0);
  EXPECT_EQ(seconds_since(1008, 20), 11);
}

TEST_F(XidClockTest, AnIdOlderThanAllSamplesIsAsOldAsTheOldest) {
  run_seconds(0, 10);
  EXPECT_EQ(seconds_since(999, 9), 9);
  EXPECT_EQ(seconds_since(1, 9), 9);
}

TEST_F(XidClockTest, ASampleIsDueAfterASecond) {
  EXPECT_TRUE(clock_.is_due(at(0)));
  clock_.add(sample(0));
  EXPECT_FALSE(clock_.is_due(at(0)));
  EXPECT_FALSE(clock_.is_due(at(1) - Micros{1}));
  EXPECT_TRUE(clock_.is_due(at(1)));
}

TEST_F(XidClockTest, SamplesInQuickSuccessionDoNotReplaceOlderOnes) {
  clock_.add(sample(0));
  for (int i = 1; i < 1000; i++) clock_.add(XidSample{at(0) + Micros{i}, 1000});
  EXPECT_EQ(seconds_since(999, 1), 1);
}

// The younger, the finer: to within a second or a thirtieth.
TEST_F(XidClockTest, AgesAreLowerBoundsToWithinAThirtieth) {
  run_seconds(0, 3 * kDay);
  for (std::int64_t age = 1; age < 3 * kDay; age += 1 + age / 50) {
    const std::int64_t now = 3 * kDay - 1;
    const std::int64_t known = seconds_since(1000 + static_cast<std::uint64_t>(now - age), now);
    EXPECT_LE(known, age);
    EXPECT_GE(known, age - 2 - age / 30);
  }
}

TEST_F(XidClockTest, KnowsAgesOf47Days) {
  for (std::int64_t minute = 0; minute < 60 * 24 * 60; minute++) clock_.add(sample(minute * 60));
  const std::int64_t now = 60 * kDay - 60;
  EXPECT_GE(seconds_since(1, now), 47 * kDay);
  const std::int64_t assigned = 20 * kDay;
  const std::int64_t age = now - assigned;
  EXPECT_LE(seconds_since(1000 + assigned, now), age);
  EXPECT_GE(seconds_since(1000 + assigned, now), age - age / 30);
}

TEST_F(XidClockTest, GapsMakeNoIdTooOld) {
  run_seconds(0, 10);
  run_seconds(5000, 5010);
  EXPECT_EQ(seconds_since(1500, 5009), 9);
  EXPECT_EQ(seconds_since(1008, 5009), 5000);
}

TEST(WidenXidTest, AnIdIsBelowTheNextOneAlsoAcrossTheWraparound) {
  const std::uint64_t epoch = std::uint64_t{1} << 32;
  EXPECT_EQ(widen_xid(700, 1000), 700u);
  EXPECT_EQ(widen_xid(1000, 1000), 1000u);
  EXPECT_EQ(widen_xid(1001, 1000), 1001u);
  EXPECT_EQ(widen_xid(700, 5 * epoch + 1000), 5 * epoch + 700);
  EXPECT_EQ(widen_xid(0xfffffff0u, 5 * epoch + 1000), 5 * epoch - 16);
}

}  // namespace
}  // namespace pgleak
