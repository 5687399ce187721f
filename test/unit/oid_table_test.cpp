// Tests of core/oid_table: each OID has a value of its own.
#include "core/oid_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace pgleak {
namespace {

// Also with a full table, and with OIDs that are close together as those of roles are.
TEST(OidTableTest, SumsAreThoseOfAMap) {
  constexpr int kCapacity = 50;
  std::vector<char> memory(OidTable<int>::size_in_memory(kCapacity));
  OidTable<int> table;
  table.initialize(memory.data(), kCapacity);
  std::mt19937 random(1);
  for (int round = 0; round < 100; round++) {
    std::map<std::uint32_t, int> sums;
    const std::uint32_t step = round % 2 == 0 ? 1 : 4096;
    for (int i = 0; i < 1000; i++) {
      const std::uint32_t oid = static_cast<std::uint32_t>(random() % kCapacity) * step;
      const int number = static_cast<int>(random() % 10);
      table.at(oid) += number;
      sums[oid] += number;
    }
    for (const auto& [oid, sum] : sums) EXPECT_EQ(table.at(oid), sum);
    table.clear();
    EXPECT_EQ(table.at(step), 0);
    table.clear();
  }
}

}  // namespace
}  // namespace pgleak
