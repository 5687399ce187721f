// Tests of core/idle_times: which bin a time falls into, how exact quantiles are, and that a bank loses and
// doubles nothing, whoever reads it when.
#include "core/idle_times.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "threads.hpp"

namespace pgleak {
namespace {

constexpr PoolLabel kShop = 17;
constexpr PoolLabel kAdmin = 18;
constexpr PoolLabel kBatch = 19;

IdleTimes times_of(const std::vector<std::int64_t>& microseconds) {
  IdleTimes times{};
  for (const std::int64_t us : microseconds) {
    times.bins[idle_bin_of(Micros{us})]++;
    times.total += Micros{us};
    if (Micros{us} > times.longest) times.longest = Micros{us};
  }
  return times;
}

TEST(IdleBinTest, BinsFollowEachOtherWithoutAGap) {
  for (int bin = 1; bin < kIdleBinCount; bin++) {
    EXPECT_EQ(idle_bin_of(idle_bin_start(bin)), bin) << bin;
    EXPECT_EQ(idle_bin_of(idle_bin_start(bin) - Micros{1}), bin - 1) << bin;
  }
}

TEST(IdleBinTest, TheLargestTimeOfABinIsAtMostOneAndAHalfTimesTheSmallest) {
  for (int bin = 1; bin < kIdleBinCount - 1; bin++)
    EXPECT_LE(2 * idle_bin_start(bin + 1).us, 3 * idle_bin_start(bin).us) << bin;
}

TEST(IdleBinTest, TheFirstAndTheLastBinTakeEverythingElse) {
  EXPECT_EQ(idle_bin_of(Micros{0}), 0);
  EXPECT_EQ(idle_bin_of(Micros{1}), 0);
  EXPECT_EQ(idle_bin_of(Micros{255}), 0);
  EXPECT_EQ(idle_bin_of(Micros{256}), 1);
  EXPECT_EQ(idle_bin_start(kIdleBinCount - 1), Micros{std::int64_t{1} << 31});
  EXPECT_EQ(idle_bin_of(86400 * kSecond), kIdleBinCount - 1);
  EXPECT_EQ(idle_bin_of(kForever), kIdleBinCount - 1);
}

TEST(IdleTimesTest, WithoutATimeThereIsNoQuantile) {
  EXPECT_EQ(IdleTimes{}.quantile(0.5), std::nullopt);
  EXPECT_EQ(IdleTimes{}.count(), 0U);
}

TEST(IdleTimesTest, OneTimeIsEveryQuantile) {
  for (const std::int64_t us : std::vector<std::int64_t>{1, 300, 1000000, 5000000000}) {
    const IdleTimes times = times_of({us});
    for (const double rank : {0.5, 0.95, 0.99, 1.0}) {
      const std::int64_t found = times.quantile(rank)->us;
      EXPECT_LE(found, us);
      EXPECT_GE(found, us < 256 ? 0 : us * 4 / 10) << us;
    }
    EXPECT_EQ(times.quantile(1.0), Micros{us});
  }
}

// The true quantile of sorted values, by the same definition.
std::int64_t true_quantile(const std::vector<std::int64_t>& sorted, double rank) {
  // Some processors (i386) compute a product with more digits than the rank has, and get a little more than a
  // whole number.
  const double wanted = rank * static_cast<double>(sorted.size()) - 1e-9;
  const std::size_t index = static_cast<std::size_t>(std::max(0.0, std::ceil(wanted) - 1));
  return sorted[std::min(index, sorted.size() - 1)];
}

// A distribution: draws one time in microseconds.
template <typename Draw>
void expect_exact_quantiles(const char* name, Draw draw) {
  std::mt19937_64 random(4711);
  for (const int size : {1, 2, 3, 10, 99, 1000, 20000}) {
    std::vector<std::int64_t> values;
    for (int i = 0; i < size; i++)
      values.push_back(std::min(std::max<std::int64_t>(draw(random), 1), (std::int64_t{1} << 31) - 1));
    const IdleTimes times = times_of(values);
    std::sort(values.begin(), values.end());
    EXPECT_EQ(times.count(), static_cast<std::uint64_t>(size));
    EXPECT_EQ(times.longest.us, values.back());
    Micros before{0};
    for (const double rank : {0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const double truth = static_cast<double>(true_quantile(values, rank));
      const Micros found = times.quantile(rank).value();
      EXPECT_LE(std::abs(static_cast<double>(found.us) - truth), std::max(256.0, truth / 2))
          << name << " " << size << " " << rank << " " << truth;
      EXPECT_LE(before, found) << name << " " << size << " " << rank;
      EXPECT_LE(found, times.longest) << name;
      before = found;
    }
  }
}

TEST(IdleTimesTest, QuantilesAreOffByLessThanHalfOrByLessThanTheFirstBin) {
  expect_exact_quantiles("constant", [](auto&) { return 1234567; });
  expect_exact_quantiles("uniform", [](auto& random) {
    return std::uniform_int_distribution<std::int64_t>(1, 5000000)(random);
  });
  expect_exact_quantiles(
      "short", [](auto& random) { return std::uniform_int_distribution<std::int64_t>(1, 250)(random); });
  expect_exact_quantiles("exponential", [](auto& random) {
    return static_cast<std::int64_t>(std::exponential_distribution<double>(1e-4)(random));
  });
  expect_exact_quantiles("lognormal", [](auto& random) {
    return static_cast<std::int64_t>(std::lognormal_distribution<double>(8, 2)(random));
  });
  expect_exact_quantiles("two humps", [](auto& random) {
    return std::uniform_int_distribution<int>(0, 9)(random) == 0 ? 30000000 : 2000;
  });
  expect_exact_quantiles("heavy tail", [](auto& random) {
    return static_cast<std::int64_t>(300 /
                                     std::pow(std::uniform_real_distribution<double>(1e-7, 1)(random), 1.2));
  });
}

TEST(IdleTimesTest, TimesBeyondTheLastBinLieBetweenItsStartAndTheLongest) {
  const IdleTimes times = times_of({3'000'000'000, 4'000'000'000, 90'000'000'000});
  EXPECT_GE(*times.quantile(0.5), idle_bin_start(kIdleBinCount - 1));
  EXPECT_LE(*times.quantile(0.99), Micros{90'000'000'000});
}

TEST(IdleTimesTest, SumsAreThoseOfTheParts) {
  IdleTimes sum = times_of({100, 5000});
  sum.add(times_of({5000, 7000000}));
  EXPECT_EQ(
      std::memcmp(&sum, &static_cast<const IdleTimes&>(times_of({100, 5000, 5000, 7000000})), sizeof(sum)),
      0);
}

PoolKey key_of(std::uint32_t database, std::uint32_t role, const char* application, const char* address) {
  SessionIdentity who{};
  who.role_oid = role;
  std::strcpy(who.application_name, application);
  std::strcpy(who.client_address, address);
  return make_pool_key(database, who);
}

TEST(PoolLabelTest, EachPartOfTheKeyCounts) {
  const PoolLabel label = pool_label(key_of(1, 2, "shop", "10.0.0.1"));
  EXPECT_EQ(label, pool_label(key_of(1, 2, "shop", "10.0.0.1")));
  EXPECT_NE(label, pool_label(key_of(3, 2, "shop", "10.0.0.1")));
  EXPECT_NE(label, pool_label(key_of(1, 3, "shop", "10.0.0.1")));
  EXPECT_NE(label, pool_label(key_of(1, 2, "shop2", "10.0.0.1")));
  EXPECT_NE(label, pool_label(key_of(1, 2, "shop", "10.0.0.2")));
  EXPECT_NE(pool_label(key_of(1, 2, "a", "b")), pool_label(key_of(1, 2, "ab", "")));
  EXPECT_NE(pool_label(key_of(1, 2, "", "")), pool_label(key_of(2, 1, "", "")));
  EXPECT_NE(pool_label(key_of(0, 0, "", "")), 0U);
}

// --- the bank ---

struct Scanner {
  TakenIdle last{};
  IdleTimes sum{};

  std::optional<PoolLabel> take(IdleBank* bank) { return bank->take(&last, &sum); }
};

TEST(IdleBankTest, TheScannerTakesEachTimeOnce) {
  IdleBank bank{};
  Scanner scanner;
  EXPECT_EQ(scanner.take(&bank), std::nullopt);
  bank.relabel(kShop);
  bank.add(Micros{300});
  bank.add(Micros{5000});
  EXPECT_EQ(scanner.take(&bank), kShop);
  EXPECT_EQ(scanner.take(&bank), std::nullopt);
  bank.add(Micros{400});
  EXPECT_EQ(scanner.take(&bank), kShop);
  EXPECT_EQ(scanner.sum.count(), 3U);
  EXPECT_EQ(scanner.sum.total, Micros{5700});
  EXPECT_EQ(scanner.sum.longest, Micros{5000});
}

TEST(IdleBankTest, TheLongestIsThatOfWhatIsTaken) {
  IdleBank bank{};
  Scanner scanner;
  bank.add(Micros{5000});
  scanner.take(&bank);
  scanner.sum = IdleTimes{};
  bank.add(Micros{300});
  scanner.take(&bank);
  EXPECT_EQ(scanner.sum.longest, Micros{300});
}

TEST(IdleBankTest, ABankIsGivenAwayOnlyWhenItIsEmpty) {
  IdleBank bank{};
  Scanner scanner;
  EXPECT_TRUE(bank.relabel(kShop));
  bank.add(Micros{300});
  EXPECT_FALSE(bank.relabel(kAdmin));
  EXPECT_EQ(bank.label(), kShop);
  EXPECT_EQ(scanner.take(&bank), kShop);
  EXPECT_TRUE(bank.relabel(kAdmin));
  bank.add(Micros{300});
  EXPECT_EQ(scanner.take(&bank), kAdmin);
}

TEST(IdleBankTest, ANewScannerStartsWithWhatComes) {
  IdleBank bank{};
  Scanner first;
  bank.add(Micros{300});
  first.take(&bank);
  bank.add(Micros{300});  // between the two scanners
  Scanner second;
  bank.start_taking(&second.last);
  EXPECT_EQ(second.take(&bank), std::nullopt);
  EXPECT_TRUE(bank.relabel(kAdmin));
  bank.add(Micros{700});
  EXPECT_EQ(second.take(&bank), kAdmin);
  EXPECT_EQ(second.sum.count(), 1U);
  EXPECT_EQ(second.sum.total, Micros{700});
}

TEST(IdleBankTest, CountersMayWrap) {
  IdleBank bank{};
  Scanner scanner;
  bank.add(Micros{300});
  scanner.last.bins[idle_bin_of(Micros{300})] = UINT32_MAX;  // as if 2^32 had gone before
  scanner.take(&bank);
  EXPECT_EQ(scanner.sum.count(), 2U);
}

TEST(SlotIdleTimesTest, TwoNamesInTurnKeepTheirBanks) {
  SlotIdleTimes slot{};
  for (int i = 0; i < 10; i++) {
    slot.choose(kShop)->add(Micros{300});
    slot.choose(kAdmin)->add(Micros{500});
  }
  IdleTimes of_shop{};
  IdleTimes of_admin{};
  TakenIdle last[2]{};
  EXPECT_EQ(slot.bank(0).take(&last[0], &of_shop), kShop);
  EXPECT_EQ(slot.bank(1).take(&last[1], &of_admin), kAdmin);
  EXPECT_EQ(of_shop.count(), 10U);
  EXPECT_EQ(of_admin.count(), 10U);
}

TEST(SlotIdleTimesTest, AThirdNameHasNoPoolUntilABankIsEmpty) {
  SlotIdleTimes slot{};
  slot.choose(kShop)->add(Micros{300});
  slot.choose(kAdmin)->add(Micros{300});
  IdleBank* const spare = slot.choose(kBatch);
  EXPECT_EQ(spare->label(), 0U);
  spare->add(Micros{300});
  IdleTimes taken{};
  TakenIdle last{};
  EXPECT_EQ(slot.bank(0).take(&last, &taken), kShop);
  EXPECT_EQ(slot.choose(kBatch)->label(), kBatch);
  EXPECT_EQ(slot.choose(kAdmin)->label(), kAdmin);
}

// One thread counts for changing pools, the other takes: no time is lost, doubled, or added to another pool.
// The time tells its pool.
TEST(SlotIdleTimesTest, NothingIsLostOrMixedUpBetweenTwoProcesses) {
  constexpr int kTimes = 300000;
  constexpr std::int64_t kTimeOf[] = {0, 300, 5000, 70000, 900000};
  SlotIdleTimes slot{};
  std::atomic<bool> is_done{false};
  IdleTimes of_label[5]{};
  TakenIdle last[SlotIdleTimes::kBankCount]{};

  std::thread backend([&] {
    std::mt19937 random(7);
    PoolLabel label = 1;
    for (int i = 0; i < kTimes; i++) {
      if (random() % 8 == 0) label = 1 + random() % 4;
      slot.choose(label)->add(Micros{kTimeOf[label]});
      if (i % 64 == 0) std::this_thread::yield();
    }
    is_done = true;
  });
  for (bool is_last = false; !is_last;) {
    is_last = is_done;
    for (int i = 0; i < SlotIdleTimes::kBankCount; i++) {
      IdleTimes added{};
      const std::optional<PoolLabel> label = slot.bank(i).take(&last[i], &added);
      if (label) of_label[*label].add(added);
    }
  }
  backend.join();

  IdleTimes sum{};
  for (const IdleTimes& times : of_label) sum.add(times);
  EXPECT_EQ(sum.count(), static_cast<std::uint64_t>(kTimes));
  for (int label = 1; label <= 4; label++) {
    const std::uint64_t count = of_label[label].count();
    EXPECT_EQ(of_label[label].bins[idle_bin_of(Micros{kTimeOf[label]})], count) << label;
    EXPECT_EQ(of_label[label].total, static_cast<std::int64_t>(count) * Micros{kTimeOf[label]}) << label;
    EXPECT_EQ(of_label[label].longest, Micros{count > 0 ? kTimeOf[label] : 0}) << label;
  }
}

}  // namespace
}  // namespace pgleak
