// Tests of core/pool_table: which sessions form one pool, and which entry is given away.
#include "core/pool_table.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

PoolKey key(const char* application, const char* address = "10.0.0.1", std::uint32_t database = 5,
            std::uint32_t role = 10) {
  SessionIdentity who;
  std::memset(static_cast<void*>(&who), 'x', sizeof(who));  // what follows the names must not count
  std::snprintf(who.application_name, kNameSize, "%s", application);
  std::snprintf(who.client_address, kAddressSize, "%s", address);
  who.role_oid = role;
  return make_pool_key(database, who);
}

PoolKey numbered(int number) {
  char name[kNameSize];
  std::snprintf(name, sizeof(name), "service %d", number);
  return key(name);
}

class PoolTableTest : public testing::Test {
 protected:
  // As small as it can be: the sanitizers see what is written behind it.
  PoolTableTest() : memory_(PoolTable::size_in_memory(kCapacity)) {
    table_.initialize(memory_.data(), kCapacity);
  }

  int acquire(const PoolKey& which) { return table_.acquire(which, &is_new_); }

  void fill() {
    for (int i = 0; i < kCapacity; i++) acquire(numbered(i));
  }

  static constexpr int kCapacity = 100;  // no power of two
  static constexpr int kNoRoom = kCapacity;

  std::vector<char> memory_;
  PoolTable table_;
  FakeTime time_;
  bool is_new_ = false;
};

TEST_F(PoolTableTest, SessionsThatShareAllFourAreOnePool) {
  const int pool = acquire(key("shop-api"));
  EXPECT_TRUE(is_new_);
  EXPECT_EQ(acquire(key("shop-api")), pool);
  EXPECT_FALSE(is_new_);
}

TEST_F(PoolTableTest, TwoServicesBehindOneAddressAreTwoPools) {
  const int pool = acquire(key("shop-api"));
  EXPECT_NE(acquire(key("shop-worker")), pool);
  EXPECT_NE(acquire(key("shop-api", "10.0.0.2")), pool);
  EXPECT_NE(acquire(key("shop-api", "10.0.0.1", 6)), pool);
  EXPECT_NE(acquire(key("shop-api", "10.0.0.1", 5, 11)), pool);
  EXPECT_EQ(acquire(key("shop-api")), pool);
}

TEST_F(PoolTableTest, NamesOfFullLengthAreToldApart) {
  char name[kNameSize];
  std::memset(name, 'a', sizeof(name));
  name[kNameSize - 1] = '\0';
  const int pool = acquire(key(name));
  name[kNameSize - 2] = 'b';
  EXPECT_NE(acquire(key(name)), pool);
}

TEST_F(PoolTableTest, AFullTableSendsNewPoolsToTheOtherRow) {
  fill();
  EXPECT_EQ(acquire(key("one too many")), kNoRoom);
  EXPECT_FALSE(is_new_);
  EXPECT_NE(acquire(numbered(77)), kNoRoom);  // the pools in it stay
}

TEST_F(PoolTableTest, TheLongestEmptyPoolMakesRoom) {
  fill();
  const std::uint32_t before = table_.vacancies();
  EXPECT_TRUE(table_.keep(9, 0, time_.monotonic()));
  time_.pass(kSecond);
  EXPECT_TRUE(table_.keep(4, 0, time_.monotonic()));
  EXPECT_TRUE(table_.keep(9, 0, time_.monotonic()));
  EXPECT_EQ(table_.vacancies(), before + 2);
  EXPECT_EQ(acquire(key("new")), 9);
  EXPECT_TRUE(is_new_);
  EXPECT_EQ(acquire(key("newer")), 4);
  EXPECT_EQ(acquire(key("one too many")), kNoRoom);
  EXPECT_EQ(acquire(numbered(9)), kNoRoom);  // it has lost its entry
}

TEST_F(PoolTableTest, AnEmptyPoolThatFillsAgainKeepsItsEntry) {
  fill();
  table_.keep(9, 0, time_.monotonic());
  EXPECT_EQ(acquire(numbered(9)), 9);
  EXPECT_FALSE(is_new_);
  EXPECT_EQ(acquire(key("one too many")), kNoRoom);
}

TEST_F(PoolTableTest, APoolThatStaysEmptyIsForgotten) {
  const int pool = acquire(key("shop-api"));
  EXPECT_TRUE(table_.keep(pool, 0, time_.monotonic()));
  time_.pass(kKeepEmptyPool);
  EXPECT_FALSE(table_.keep(pool, 0, time_.monotonic()));
  acquire(key("shop-api"));
  EXPECT_TRUE(is_new_);
}

TEST_F(PoolTableTest, AFreeEntryGoesBeforeAnEmptyOne) {
  EXPECT_EQ(table_.end(), 0);
  acquire(key("one"));
  EXPECT_EQ(table_.end(), 1);
  table_.keep(0, 0, time_.monotonic());
  EXPECT_EQ(acquire(key("two")), 1);
}

TEST_F(PoolTableTest, ARestoredPoolIsFound) {
  table_.restore(42, key("shop-api"));
  EXPECT_EQ(table_.end(), 43);
  EXPECT_EQ(acquire(key("shop-api")), 42);
  EXPECT_FALSE(is_new_);
  EXPECT_NE(acquire(key("other")), 42);
}

TEST_F(PoolTableTest, AnEntryThatWasFreedIsTheFirstToGo) {
  fill();
  table_.keep(9, 0, time_.monotonic());
  table_.keep(4, 0, time_.monotonic());
  time_.pass(kKeepEmptyPool);
  EXPECT_FALSE(table_.keep(9, 0, time_.monotonic()));
  EXPECT_EQ(acquire(key("new")), 9);
  EXPECT_EQ(acquire(key("newer")), 4);  // that of the pool that is empty
  EXPECT_EQ(acquire(key("one too many")), kNoRoom);
}

TEST_F(PoolTableTest, ATableOfOnePool) {
  table_.initialize(memory_.data(), 1);
  EXPECT_EQ(acquire(key("one")), 0);
  EXPECT_EQ(acquire(key("two")), 1);
  table_.keep(0, 0, time_.monotonic());
  EXPECT_EQ(acquire(key("two")), 0);
}

TEST_F(PoolTableTest, PoolsOfAnApplicationAreFound) {
  const PoolKey first = key("shop", "10.0.0.1");
  const PoolKey sum = application_key(first);
  acquire(key("shop", "10.0.0.1", 6));
  acquire(key("shop", "10.0.0.1", 5, 11));
  acquire(key("shops", "10.0.0.1"));
  EXPECT_EQ(table_.next_of_application(first, 0), kNoRoom);
  EXPECT_EQ(acquire(first), 3);
  EXPECT_EQ(acquire(sum), 4);
  EXPECT_EQ(acquire(key("shop", "10.0.0.2")), 5);
  EXPECT_EQ(acquire(key("shop", "")), 6);
  EXPECT_EQ(table_.find(sum), 4);
  EXPECT_EQ(table_.find(application_key(key("shop", ""))), 4);
  EXPECT_EQ(table_.find(application_key(key("shops"))), kNoRoom);
  EXPECT_EQ(table_.next_of_application(first, 0), 3);
  EXPECT_EQ(table_.next_of_application(first, 4), 5);
  EXPECT_EQ(table_.next_of_application(sum, 6), 6);
  EXPECT_EQ(table_.next_of_application(sum, 7), kNoRoom);
  table_.keep(5, 0, time_.monotonic());
  EXPECT_EQ(table_.next_of_application(first, 4), 6);  // a pool without sessions is none of them
}

// Pools come, go and come back at random; a simple model says who has which entry.
TEST_F(PoolTableTest, RandomPools) {
  std::mt19937 random(1);
  std::map<std::string, int> entry_of;
  std::map<int, std::string> name_of;
  for (int step = 0; step < 100000; step++) {
    const std::string name = "service " + std::to_string(random() % 300);
    time_.pass(kSecond);
    if (random() % 3 > 0) {
      const int entry = acquire(key(name.c_str()));
      const auto known = entry_of.find(name);
      ASSERT_EQ(is_new_, entry != kNoRoom && known == entry_of.end());
      if (known != entry_of.end()) {
        ASSERT_EQ(entry, known->second);
      }
      if (!is_new_) continue;
      if (name_of.count(entry) > 0) entry_of.erase(name_of[entry]);
      name_of[entry] = name;
      entry_of[name] = entry;
    } else if (const auto known = entry_of.find(name); known != entry_of.end()) {
      if (table_.keep(known->second, 0, time_.monotonic())) continue;
      name_of.erase(known->second);
      entry_of.erase(known);
    }
    ASSERT_EQ(entry_of.size(), name_of.size());
  }
  EXPECT_GT(entry_of.size(), 50U);
}

}  // namespace
}  // namespace pgleak
