// How long the sessions of a pool are idle in a transaction between two statements: a histogram in fixed
// space.
//
// Each backend counts into a bank of its own slot; the scanner adds the banks up for each pool. Lives in
// shared memory: trivially copyable. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_IDLE_TIMES_HPP
#define PGLEAK_CORE_IDLE_TIMES_HPP

#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>

#include "core/pool_table.hpp"
#include "core/time.hpp"

namespace pgleak {

// Two bins for each power of two from 256 us to 2^31 us (36 min), one for what is shorter, one for what is
// longer: the largest time in a bin is at most one and a half times the smallest.
inline constexpr int kIdleBinCount = 48;
inline constexpr int kLeastIdleBits = 8;  // of the smallest time in the second bin

// Inline because backends call it between two statements. Not an int, which would have to be converted before
// it is an index.
inline std::int64_t idle_bin_of(Micros duration) {
  constexpr std::int64_t kLeast = std::int64_t{1} << kLeastIdleBits;
  constexpr std::int64_t kMost = kLeast << (kIdleBinCount - 2) / 2;
  if (static_cast<std::uint64_t>(duration.us - kLeast) >= static_cast<std::uint64_t>(kMost - kLeast))
    return duration.us < kLeast ? 0 : kIdleBinCount - 1;
  // The exponent and the first bit behind it are the number of the bin, but for where they start: cheaper
  // than to count leading zeros, and exact for all numbers below 2^53.
  constexpr int kMantissaBits = std::numeric_limits<double>::digits - 1;
  constexpr std::int64_t kFirst = 2 * (std::numeric_limits<double>::max_exponent - 1 + kLeastIdleBits) - 1;
  static_assert(std::numeric_limits<double>::is_iec559 && sizeof(double) == sizeof(std::uint64_t));
  const double number = static_cast<double>(duration.us);
  std::uint64_t bits;
  std::memcpy(&bits, &number, sizeof(bits));
  return static_cast<std::int64_t>(bits >> (kMantissaBits - 1)) - kFirst;
}

// The smallest time in bin `bin`; for kIdleBinCount, the end of the last bin but one.
Micros idle_bin_start(int bin);

// What was counted for one pool, or is to be added to it. Zero-initialized: nothing.
struct IdleTimes {
  std::uint64_t bins[kIdleBinCount];
  Micros total;
  Micros longest;

  std::uint64_t count() const;
  void add(const IdleTimes& other);

  // The time that the share `rank` (0 to 1) of all times does not exceed; nothing if there is none. Times are
  // taken to be spread evenly over their bin, so the result is off by less than half of the true value, or
  // less than 256 us.
  std::optional<Micros> quantile(double rank) const;

  // The number of times that are certainly longer than `duration`, to the bin.
  std::uint64_t count_above(Micros duration) const;
};

// Identifies a pool by a number. 0 is that of no pool.
using PoolLabel = std::uint64_t;
PoolLabel pool_label(const PoolKey& key);

// The scanner's memory of a bank as of its last IdleBank::take().
struct TakenIdle {
  std::uint64_t total;
  std::uint32_t bins[kIdleBinCount];
};

// Where a backend counts. The counts only grow, across the owners of a slot too, and the scanner takes what
// has been added since it last did. So nothing is lost when a session ends, and the owner needs no atomic
// read-modify-write.
//
// 1. The backend that owns the slot writes `bins_`, `total_` and `label_`. It stores `total_` last.
// 2. The scanner writes `taken_`, which follows `total_`, and sets `longest_` back to 0.
// 3. The owner changes the label only when nothing is left to take, so each count has one label.
class IdleBank {
 public:
  // --- called by the backend ---

  void add(Micros duration) {
    std::atomic<std::uint32_t>& bin = bins_[idle_bin_of(duration)];
    bin.store(bin.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const std::uint64_t us = static_cast<std::uint64_t>(duration.us);
    // If the scanner takes the longest between the two, this one was not longer, or replaces it.
    if (us > longest_.load(std::memory_order_relaxed)) longest_.store(us, std::memory_order_relaxed);
    total_.store(total_.load(std::memory_order_relaxed) + us, std::memory_order_release);
  }

  PoolLabel label() const { return label_.load(std::memory_order_relaxed); }

  // Gives the bank to another pool. Returns false, and does nothing, if something is left to take.
  bool relabel(PoolLabel label) {
    if (taken_.load(std::memory_order_acquire) != total_.load(std::memory_order_relaxed)) return false;
    label_.store(label, std::memory_order_relaxed);
    return true;
  }

  // --- called by the scanner ---

  // Adds what has come since the last call to `*added`. Returns the label of that; nothing if nothing has
  // come.
  std::optional<PoolLabel> take(TakenIdle* last, IdleTimes* added);

  // Starts with what a former scanner left, which is not taken: its copy is gone.
  void start_taking(TakenIdle* last);

 private:
  void copy_bins(TakenIdle* last, IdleTimes* added) const;

  std::atomic<std::uint64_t> total_;    // us
  std::atomic<std::uint64_t> longest_;  // us, since the scanner last took it
  std::atomic<std::uint64_t> taken_;
  std::atomic<PoolLabel> label_;
  std::atomic<std::uint32_t> bins_[kIdleBinCount];
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "processes share it");
};

// The banks of one slot. A session that changes its application_name changes its pool, and so does a slot
// when its next session begins. With a bank for each of two pools, a session may alternate between two names.
class SlotIdleTimes {
 public:
  static constexpr int kBankCount = 3;

  // Backend: the bank in which to count for a pool. If both banks hold counts of other pools that the scanner
  // has yet to take, it is the last one, which belongs to no pool: a count may lack its pool, but is never
  // added to another one.
  IdleBank* choose(PoolLabel label);

  IdleBank& bank(int index) { return banks_[index]; }

 private:
  IdleBank banks_[kBankCount];
};

}  // namespace pgleak

#endif
