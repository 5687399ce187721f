// What samples say of a leak: since when it is the oldest, for which slot it is the reason, and what is not its
// fault.
#include "core/effects.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr std::uint64_t kMegabyte = 1 << 20;

class EffectsTest : public testing::Test {
 protected:
  EffectsTest() : effects_{}, sample_{} {
    sample_.at = monotonic_at(kHour);
    sample_.xid = 100;
    sample_.oldest_id = 100;
    sample_.is_oldest = true;
    sample_.is_oldest_xid = true;
    sample_.end_of_wal = 10 * kMegabyte;
  }

  void observe(Micros later = Micros{0}) {
    sample_.at = sample_.at + later;
    observe_effects(&effects_, sample_, &slot_, slot_.name == nullptr ? 0 : 1);
  }

  // The slot, `restart` and `confirmed` megabytes into WAL.
  void place_slot(std::uint64_t restart, std::uint64_t confirmed) {
    slot_ = SlotPosition{"orders", restart * kMegabyte, confirmed * kMegabyte};
  }

  std::uint64_t retained() const { return effects_.retained_bytes / kMegabyte; }

  LeakEffects effects_;
  EffectSample sample_;
  SlotPosition slot_{nullptr, 0, 0};
};

TEST_F(EffectsTest, WithoutASampleNothingIsKnown) {
  EXPECT_EQ(shown_oldest_for(effects_), std::nullopt);
  EXPECT_FALSE(effects_.sampled_at.is_set());
}

TEST_F(EffectsTest, TheOldestIsSoBetweenSamples) {
  observe();
  EXPECT_EQ(shown_oldest_for(effects_), Micros{0});
  observe(kSecond);
  observe(kSecond);
  EXPECT_EQ(shown_oldest_for(effects_), 2 * kSecond);
}

TEST_F(EffectsTest, WhatOthersHoldLongerIsNotItsFault) {
  sample_.is_oldest = false;
  observe();
  observe(kMinute);
  EXPECT_EQ(shown_oldest_for(effects_), std::nullopt);
  sample_.is_oldest = true;
  observe(kMinute);  // since when, nobody knows
  EXPECT_EQ(shown_oldest_for(effects_), Micros{0});
  observe(kMinute);
  sample_.is_oldest = false;  // a slot was created, say
  observe(kMinute);
  EXPECT_EQ(shown_oldest_for(effects_), kMinute);
}

TEST_F(EffectsTest, AnotherSnapshotCountsAnew) {
  sample_.xid = 0;
  observe();
  sample_.oldest_id = 200;
  observe(kMinute);
  EXPECT_EQ(effects_.oldest_for, Micros{0});
  observe(kSecond);
  EXPECT_EQ(effects_.oldest_for, kSecond);
}

TEST_F(EffectsTest, AnotherSnapshotOfAWriterDoesNot) {
  sample_.oldest_id = 90;
  observe();
  sample_.oldest_id = 100;
  observe(kSecond);
  EXPECT_EQ(effects_.oldest_for, kSecond);
}

TEST_F(EffectsTest, ConsumedWalIsKept) {
  place_slot(9, 10);
  observe();
  place_slot(9, 25);
  observe(kSecond);
  EXPECT_EQ(retained(), 16u);
  EXPECT_STREQ(effects_.slot_name, "orders");
}

TEST_F(EffectsTest, TheMostIsRemembered) {
  place_slot(9, 25);
  observe();
  place_slot(24, 26);  // its consumer has gone on from where another transaction began
  sample_.end_of_wal = 30 * kMegabyte;
  observe(kSecond);
  EXPECT_EQ(retained(), 16u);
}

TEST_F(EffectsTest, AConsumerThatIsBehindIsNotItsFault) {
  place_slot(1, 2);
  sample_.end_of_wal = 900 * kMegabyte;
  observe();
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
  EXPECT_STREQ(effects_.slot_name, "");
}

TEST_F(EffectsTest, WalFromBeforeIsFreed) {
  observe();
  place_slot(11, 25);  // it could let go of what was written before the leak was seen: so of the leak
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
}

TEST_F(EffectsTest, AnOlderTransactionIsTheReason) {
  sample_.is_oldest_xid = false;
  place_slot(9, 25);
  observe();
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
  sample_.is_oldest_xid = true;  // that one has ended, and the slot has not moved
  observe(kSecond);
  EXPECT_EQ(retained(), 16u);
}

TEST_F(EffectsTest, AReaderKeepsNoWal) {
  sample_.xid = 0;
  place_slot(9, 25);
  observe();
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
}

TEST_F(EffectsTest, ASlotThatReservesNothingKeepsNoWal) {
  place_slot(0, 25);
  observe();
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
}

TEST_F(EffectsTest, OnAStandbyNoneIsMeasured) {
  sample_.end_of_wal = 0;
  place_slot(9, 25);
  observe();
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);
}

TEST_F(EffectsTest, AnXidIsSeenWhenItIsAssigned) {
  sample_.xid = 0;
  observe();
  sample_.xid = 100;
  sample_.end_of_wal = 30 * kMegabyte;
  place_slot(9, 25);
  observe(kSecond);
  EXPECT_EQ(retained(), 0u);  // its consumer has not been there
  place_slot(9, 31);
  observe(kSecond);
  EXPECT_EQ(retained(), 22u);
}

TEST_F(EffectsTest, QueueUsageIsTheHighest) {
  observe();
  EXPECT_FALSE(effects_.has_queue_usage);
  sample_.notify_queue_usage = 0.0F;
  observe(kSecond);
  EXPECT_TRUE(effects_.has_queue_usage);
  EXPECT_EQ(effects_.notify_queue_usage, 0.0F);
  sample_.notify_queue_usage = 0.5F;
  observe(kSecond);
  sample_.notify_queue_usage = 0.25F;
  observe(kSecond);
  EXPECT_EQ(effects_.notify_queue_usage, 0.5F);
  sample_.notify_queue_usage = std::nullopt;
  observe(kSecond);
  EXPECT_EQ(effects_.notify_queue_usage, 0.5F);
}

TEST_F(EffectsTest, AnOverflowIsRemembered) {
  observe();
  EXPECT_FALSE(effects_.has_subxact_overflow);
  sample_.has_subxact_overflow = true;
  observe(kSecond);
  sample_.has_subxact_overflow = false;
  observe(kSecond);
  EXPECT_TRUE(effects_.has_subxact_overflow);
}

}  // namespace
}  // namespace pgleak
