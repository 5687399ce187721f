// Tests of core/pool_table: which sessions form one pool, and which entry is given away.
#include "core/pool_table.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <memory>

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
  PoolTableTest() { table_->clear(); }

  int acquire(const PoolKey& which) { return table_->acquire(which, &is_new_); }

  void fill() {
    for (int i = 0; i < kPoolCount; i++) acquire(numbered(i));
  }

  std::unique_ptr<PoolTable> table_ = std::make_unique<PoolTable>();
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
  EXPECT_EQ(acquire(key("one too many")), kOtherPool);
  EXPECT_FALSE(is_new_);
  EXPECT_NE(acquire(numbered(77)), kOtherPool);  // the pools in it stay
}

TEST_F(PoolTableTest, TheLongestEmptyPoolMakesRoom) {
  fill();
  const std::uint32_t before = table_->vacancies();
  EXPECT_TRUE(table_->keep(9, 0, time_.monotonic()));
  time_.pass(kSecond);
  EXPECT_TRUE(table_->keep(4, 0, time_.monotonic()));
  EXPECT_TRUE(table_->keep(9, 0, time_.monotonic()));
  EXPECT_EQ(table_->vacancies(), before + 2);
  EXPECT_EQ(acquire(key("new")), 9);
  EXPECT_TRUE(is_new_);
  EXPECT_EQ(acquire(key("newer")), 4);
  EXPECT_EQ(acquire(key("one too many")), kOtherPool);
  EXPECT_EQ(acquire(numbered(9)), kOtherPool);  // it has lost its entry
}

TEST_F(PoolTableTest, AnEmptyPoolThatFillsAgainKeepsItsEntry) {
  fill();
  table_->keep(9, 0, time_.monotonic());
  EXPECT_EQ(acquire(numbered(9)), 9);
  EXPECT_FALSE(is_new_);
  EXPECT_EQ(acquire(key("one too many")), kOtherPool);
}

TEST_F(PoolTableTest, APoolThatStaysEmptyIsForgotten) {
  const int pool = acquire(key("shop-api"));
  EXPECT_TRUE(table_->keep(pool, 0, time_.monotonic()));
  time_.pass(kKeepEmptyPool);
  EXPECT_FALSE(table_->keep(pool, 0, time_.monotonic()));
  acquire(key("shop-api"));
  EXPECT_TRUE(is_new_);
}

TEST_F(PoolTableTest, AFreeEntryGoesBeforeAnEmptyOne) {
  acquire(key("one"));
  table_->keep(0, 0, time_.monotonic());
  EXPECT_EQ(acquire(key("two")), 1);
}

TEST_F(PoolTableTest, ARestoredPoolIsFound) {
  table_->restore(42, key("shop-api"));
  EXPECT_EQ(acquire(key("shop-api")), 42);
  EXPECT_FALSE(is_new_);
  EXPECT_NE(acquire(key("other")), 42);
}

}  // namespace
}  // namespace pgleak
