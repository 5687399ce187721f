#include "core/idle_times.hpp"

#include "core/assert.hpp"

namespace pgleak {

namespace {

// The end of what a bin may contain. Nothing is longer than the longest.
Micros bin_end(const IdleTimes& times, int bin) {
  if (bin == kIdleBinCount - 1) return times.longest;
  return sooner(idle_bin_start(bin + 1), times.longest);
}

}  // namespace

Micros idle_bin_start(int bin) {
  if (bin <= 0) return Micros{0};
  const int step = bin - 1;
  return Micros{(std::int64_t{2} + step % 2) << (kLeastIdleBits - 1 + step / 2)};
}

std::uint64_t IdleTimes::count() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t bin : bins) sum += bin;
  return sum;
}

void IdleTimes::add(const IdleTimes& other) {
  for (int i = 0; i < kIdleBinCount; i++) bins[i] += other.bins[i];
  total += other.total;
  if (other.longest > longest) longest = other.longest;
}

std::optional<Micros> IdleTimes::quantile(double rank) const {
  const std::uint64_t all = count();
  if (all == 0) return std::nullopt;
  const double wanted = rank * static_cast<double>(all);
  double below = 0;
  for (int i = 0; i < kIdleBinCount; i++) {
    const double here = static_cast<double>(bins[i]);
    if (here > 0 && below + here >= wanted) {
      const Micros start = sooner(idle_bin_start(i), longest);
      const double width = static_cast<double>((bin_end(*this, i) - start).us);
      const double share = wanted > below ? (wanted - below) / here : 0;
      return start + Micros{static_cast<std::int64_t>(width * share)};
    }
    below += here;
  }
  return longest;
}

std::uint64_t IdleTimes::count_above(Micros duration) const {
  std::uint64_t sum = 0;
  for (std::int64_t i = idle_bin_of(duration) + 1; i < kIdleBinCount; i++) sum += bins[i];
  return sum;
}

PoolLabel pool_label(const PoolKey& key) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a
  const auto mix = [&hash](unsigned char byte) { hash = (hash ^ byte) * 1099511628211U; };
  const auto mix_text = [&mix](const char* text, std::size_t size) {
    for (std::size_t i = 0; i < size && text[i] != '\0'; i++) mix(static_cast<unsigned char>(text[i]));
    mix(0);
  };
  for (int shift = 0; shift < 32; shift += 8) {
    mix(static_cast<unsigned char>(key.database_oid >> shift));
    mix(static_cast<unsigned char>(key.role_oid >> shift));
  }
  mix_text(key.application_name, sizeof(key.application_name));
  mix_text(key.client_address, sizeof(key.client_address));
  return hash != 0 ? hash : 1;
}

void IdleBank::copy_bins(TakenIdle* last, IdleTimes* added) const {
  for (int i = 0; i < kIdleBinCount; i++) {
    const std::uint32_t now = bins_[i].load(std::memory_order_relaxed);
    added->bins[i] += static_cast<std::uint32_t>(now - last->bins[i]);  // also when the counter has wrapped
    last->bins[i] = now;
  }
}

std::optional<PoolLabel> IdleBank::take(TakenIdle* last, IdleTimes* added) {
  const std::uint64_t total = total_.load(std::memory_order_acquire);
  if (total == last->total) return std::nullopt;
  PGLEAK_ASSERT(last->total == taken_.load(std::memory_order_relaxed));
  added->total += Micros{static_cast<std::int64_t>(total - last->total)};
  const Micros longest{static_cast<std::int64_t>(longest_.exchange(0, std::memory_order_relaxed))};
  if (longest > added->longest) added->longest = longest;
  copy_bins(last, added);
  last->total = total;
  // The label cannot have changed since: there was something to take.
  const PoolLabel label = label_.load(std::memory_order_relaxed);
  taken_.store(total, std::memory_order_release);
  return label;
}

void IdleBank::start_taking(TakenIdle* last) {
  IdleTimes lost{};
  last->total = taken_.load(std::memory_order_relaxed);
  (void)take(last, &lost);
  copy_bins(last, &lost);
}

IdleBank* SlotIdleTimes::choose(PoolLabel label) {
  IdleBank* const last = &banks_[kBankCount - 1];
  for (IdleBank* bank = banks_; bank < last; bank++)
    if (bank->label() == label) return bank;
  for (IdleBank* bank = banks_; bank < last; bank++)
    if (bank->relabel(label)) return bank;
  return last;
}

}  // namespace pgleak
