// Tests of core/autovacuum_guess: which locks keep autovacuum out.
#include "core/autovacuum_guess.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr std::uint8_t kTransactionLock = 4;

HeldLock lock_of(int mode, std::uint8_t type = kRelationLock) {
  return HeldLock{LockId{5, 16384, 0, 0, type, 1}, 0, static_cast<std::uint8_t>(mode)};
}

bool keeps_out(const HeldLock& lock, Micros after) {
  const MonotonicTime since = monotonic_at(10 * kSecond);
  return keeps_autovacuum_out(lock, since, since + after, kMinute);
}

TEST(AutovacuumGuessTest, ALockThatVacuumWaitsForKeepsItOut) {
  for (int mode = 1; mode <= 8; mode++) EXPECT_EQ(keeps_out(lock_of(mode), kHour), mode >= 4) << mode;
}

TEST(AutovacuumGuessTest, AutovacuumComesAlongOnlyNowAndThen) {
  EXPECT_FALSE(keeps_out(lock_of(8), Micros{0}));
  EXPECT_FALSE(keeps_out(lock_of(8), kMinute));
  EXPECT_TRUE(keeps_out(lock_of(8), kMinute + kSecond));
}

TEST(AutovacuumGuessTest, OnlyLocksOnRelationsMatter) {
  EXPECT_FALSE(keeps_out(lock_of(7, kTransactionLock), kHour));
}

TEST(AutovacuumGuessTest, NothingIsSaidOfALockThatWasNeverSeen) {
  EXPECT_FALSE(keeps_autovacuum_out(lock_of(8), MonotonicTime::none(), monotonic_at(kHour), kMinute));
}

}  // namespace
}  // namespace pgleak
