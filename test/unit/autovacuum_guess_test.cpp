// Tests of core/autovacuum_guess: which locks keep autovacuum out.
#include "core/autovacuum_guess.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr std::uint8_t kTransactionLock = 4;

HeldLock lock_of(int mode, std::uint8_t type = kRelationLock) {
  return HeldLock{LockId{5, 16384, 0, 0, type, 1}, 0, static_cast<std::uint8_t>(mode),
                  monotonic_at(10 * kSecond)};
}

bool keeps_out(const HeldLock& lock, Micros after) {
  return keeps_autovacuum_out(lock, monotonic_at(10 * kSecond) + after, kMinute);
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
  HeldLock lock = lock_of(8);
  lock.seen_since = MonotonicTime::none();
  EXPECT_FALSE(keeps_out(lock, kHour));
}

}  // namespace
}  // namespace pgleak
