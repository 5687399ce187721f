// Tests of core/horizon: who is the oldest in which database, what it holds, and what ends it.
#include "core/horizon.hpp"

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>

namespace pgleak {
namespace {

static_assert(std::is_trivially_copyable<HorizonHolder>::value, "an ERROR may skip its destructor");

constexpr std::uint32_t kNextXid = 1000;
constexpr std::uint32_t kShop = 5;
constexpr std::uint32_t kOther = 6;
constexpr std::uint32_t kEverywhere = 0;

constexpr HorizonScope kPrimary{false, false};
constexpr HorizonScope kStandby{true, false};
constexpr HorizonScope kFeedback{true, true};

HorizonHolder session(std::uint32_t database, std::uint32_t xid, std::uint32_t xmin) {
  return HorizonHolder{HorizonKind::kSession, 0, database, xid, xmin, 0, false, 0, false};
}

HorizonHolder slot(std::uint32_t xmin, std::uint32_t catalog_xmin) {
  return HorizonHolder{HorizonKind::kReplicationSlot, 0, kEverywhere, 0, xmin, catalog_xmin, true, 0, false};
}

// The holders in the order in which they were given.
std::vector<HorizonHolder> judge(std::vector<HorizonHolder> holders, HorizonScope scope = kPrimary,
                                 std::uint32_t next_xid = kNextXid) {
  const int count = static_cast<int>(holders.size());
  for (int i = 0; i < count; i++) holders[static_cast<std::size_t>(i)].number = i;
  find_oldest(holders.data(), count, next_xid, scope);
  std::vector<HorizonHolder> in_order(holders.size());
  for (const HorizonHolder& holder : holders) in_order[static_cast<std::size_t>(holder.number)] = holder;
  return in_order;
}

// "x-x": the first and the third are the oldest.
std::string oldest(const std::vector<HorizonHolder>& holders, HorizonScope scope = kPrimary) {
  std::string marks;
  for (const HorizonHolder& holder : judge(holders, scope)) marks += holder.is_oldest ? 'x' : '-';
  return marks;
}

TEST(FindOldestTest, NobodyIsTheOldestOfNone) { EXPECT_EQ(oldest({}), ""); }

TEST(FindOldestTest, AnAgeIsThatOfTheOldestId) {
  EXPECT_EQ(judge({session(kShop, 990, 0)})[0].age, 10);
  EXPECT_EQ(judge({session(kShop, 990, 700)})[0].age, 300);
  EXPECT_EQ(judge({session(kShop, 600, 700)})[0].age, 400);
  EXPECT_EQ(judge({slot(800, 500)})[0].age, 500);
}

TEST(FindOldestTest, WithoutAnIdThereIsNoAge) {
  EXPECT_EQ(judge({slot(0, 0)})[0].age, -1);
  EXPECT_EQ(oldest({slot(0, 0)}), "-");
}

TEST(FindOldestTest, AnIdThatNobodyHasUsedYetHoldsNothing) {
  EXPECT_EQ(judge({session(kShop, 0, kNextXid)})[0].age, 0);
  EXPECT_EQ(oldest({session(kShop, 0, kNextXid)}), "-");
  EXPECT_EQ(oldest({session(kShop, 0, kNextXid), session(kShop, 999, 0)}), "-x");
}

TEST(FindOldestTest, AnIdAssignedAfterTheNextOneWasReadIsZeroOld) {
  EXPECT_EQ(judge({session(kShop, kNextXid + 3, 0)})[0].age, 0);
}

TEST(FindOldestTest, AgesCrossTheWraparound) {
  EXPECT_EQ(judge({session(kShop, 0xfffffff0u, 0)}, kPrimary, 10)[0].age, 26);
}

TEST(FindOldestTest, EachDatabaseHasItsOldest) {
  EXPECT_EQ(oldest({session(kShop, 900, 0), session(kOther, 950, 0), session(kShop, 800, 0)}), "-xx");
}

TEST(FindOldestTest, AllThatAreEquallyOldAreTheOldest) {
  EXPECT_EQ(oldest({session(kShop, 0, 800), session(kShop, 0, 800), session(kShop, 0, 900)}), "xx-");
}

TEST(FindOldestTest, ASlotHoldsEveryDatabase) {
  EXPECT_EQ(oldest({session(kShop, 900, 0), session(kOther, 950, 0), slot(700, 0)}), "--x");
}

TEST(FindOldestTest, AnOlderSessionIsTheOldestOfItsOwnDatabaseOnly) {
  EXPECT_EQ(oldest({session(kShop, 600, 0), session(kOther, 950, 0), slot(700, 0)}), "x-x");
}

TEST(FindOldestTest, OfTwoSlotsTheOlderIsTheOldest) { EXPECT_EQ(oldest({slot(700, 0), slot(600, 0)}), "-x"); }

TEST(FindOldestTest, ALogicalSlotIsTheOldestForCatalogsBesideASessionForTables) {
  EXPECT_EQ(oldest({session(kShop, 900, 0), session(kShop, 950, 0), slot(0, 500)}), "x-x");
  EXPECT_EQ(oldest({session(kShop, 400, 0), slot(0, 500), slot(0, 600)}), "xx-");
}

TEST(FindOldestTest, OnAStandbyDatabasesDoNotMatter) {
  EXPECT_EQ(oldest({session(kShop, 0, 900), session(kOther, 0, 950)}, kStandby), "x-");
  EXPECT_EQ(oldest({session(kShop, 0, 900), session(kOther, 0, 950)}, kFeedback), "x-");
}

TEST(FindOldestTest, OnAStandbyASlotCountsOnlyWithFeedback) {
  EXPECT_EQ(oldest({session(kShop, 0, 900), slot(700, 0)}, kStandby), "x-");
  EXPECT_EQ(oldest({session(kShop, 0, 900), slot(700, 0)}, kFeedback), "-x");
}

TEST(FindOldestTest, ManyHoldersInManyDatabases) {
  std::vector<HorizonHolder> holders;
  for (std::uint32_t i = 0; i < 500; i++) holders.push_back(session(1 + i % 50, 100 + i, 0));
  const std::vector<HorizonHolder> judged = judge(holders);
  for (std::size_t i = 0; i < judged.size(); i++) EXPECT_EQ(judged[i].is_oldest, i < 50) << i;
}

std::string held(const HorizonHolder& holder, HorizonScope scope) {
  char text[kHeldSize];
  describe_held(holder, scope, text);
  return text;
}

TEST(DescribeHeldTest, OnAPrimary) {
  EXPECT_EQ(held(session(kShop, 900, 0), kPrimary), "tables, catalogs");
  EXPECT_EQ(held(slot(700, 0), kPrimary), "tables, catalogs, WAL");
  EXPECT_EQ(held(slot(0, 700), kPrimary), "catalogs, WAL");
  EXPECT_EQ(held(slot(0, 0), kPrimary), "WAL");
}

TEST(DescribeHeldTest, OnAStandby) {
  EXPECT_EQ(held(session(kShop, 0, 900), kStandby), "replay");
  EXPECT_EQ(held(session(kShop, 0, 900), kFeedback), "replay, tables, catalogs");
  EXPECT_EQ(held(slot(700, 700), kStandby), "WAL");
  EXPECT_EQ(held(slot(0, 700), kFeedback), "catalogs, WAL");
}

std::string remedy(const HolderIdentity& who) {
  char text[kHorizonRemedySize];
  describe_remedy(who, text);
  return text;
}

HolderIdentity client(HorizonKind kind) {
  return HolderIdentity{kind, 4711, "", "reports", true, false, false, true, false, false, false, false};
}

TEST(DescribeRemedyTest, Sessions) {
  HolderIdentity who = client(HorizonKind::kSession);
  EXPECT_EQ(remedy(who), "SELECT pgleak.cancel(4711)");
  who.is_idle = true;
  EXPECT_EQ(remedy(who), "SELECT pgleak.terminate(4711)");
  who.is_client_backend = false;
  EXPECT_EQ(remedy(who), "SELECT pg_terminate_backend(4711)");
}

TEST(DescribeRemedyTest, BackgroundWorkers) {
  HolderIdentity who = client(HorizonKind::kBackgroundWorker);
  who.is_client_backend = false;
  EXPECT_EQ(remedy(who), "SELECT pg_terminate_backend(4711)");
  who.is_autovacuum = true;
  EXPECT_EQ(remedy(who), "SELECT pg_cancel_backend(4711)");
}

TEST(DescribeRemedyTest, PreparedTransactions) {
  HolderIdentity who = client(HorizonKind::kPreparedTransaction);
  who.name = "shop-4711";
  EXPECT_EQ(remedy(who), "ROLLBACK PREPARED 'shop-4711'");
  who.is_in_this_database = false;
  EXPECT_EQ(remedy(who), "ROLLBACK PREPARED 'shop-4711' -- in its own database");
}

TEST(DescribeRemedyTest, NoGidCanEndTheStatement) {
  HolderIdentity who = client(HorizonKind::kPreparedTransaction);
  who.name = "'; DROP TABLE orders --";
  EXPECT_EQ(remedy(who), "ROLLBACK PREPARED '''; DROP TABLE orders --'");
  who.name = "a\\'b";
  EXPECT_EQ(remedy(who), "ROLLBACK PREPARED E'a\\\\''b'");
  const std::string longest(199, '\'');
  who.name = longest.c_str();
  EXPECT_EQ(remedy(who), "ROLLBACK PREPARED '" + longest + longest + "'");
}

TEST(DescribeRemedyTest, Slots) {
  HolderIdentity who = client(HorizonKind::kReplicationSlot);
  who.name = "old_replica";
  EXPECT_EQ(remedy(who), "let standby \"reports\" catch up");
  who.has_xmin = true;
  EXPECT_EQ(remedy(who),
            "let standby \"reports\" catch up, and end the session that pgleak.horizon shows there");
  who.is_logical = true;
  EXPECT_EQ(remedy(who), "let consumer \"reports\" catch up, or end the transaction that it waits for");
  who.pid = 0;
  EXPECT_EQ(remedy(who), "SELECT pg_drop_replication_slot('old_replica')");
  who.is_synced = true;
  EXPECT_EQ(remedy(who), "drop the slot on the primary, from where it is synchronized");
}

TEST(DescribeRemedyTest, ATemporarySlotEndsWithItsSession) {
  HolderIdentity who = client(HorizonKind::kReplicationSlot);
  who.is_temporary = true;
  EXPECT_EQ(remedy(who), "SELECT pg_terminate_backend(4711)");
}

TEST(DescribeRemedyTest, Feedback) {
  HolderIdentity who = client(HorizonKind::kStandbyFeedback);
  who.client = "say \"hi\"\n";
  EXPECT_EQ(remedy(who), "end the session that pgleak.horizon shows on standby \"say \\\"hi\\\"\\n\"");
}

TEST(HolderKindTest, Names) {
  EXPECT_STREQ(to_string(HorizonKind::kSession), "session");
  EXPECT_STREQ(to_string(HorizonKind::kPreparedTransaction), "prepared transaction");
  EXPECT_STREQ(to_string(HorizonKind::kReplicationSlot), "replication slot");
  EXPECT_STREQ(to_string(HorizonKind::kStandbyFeedback), "standby feedback");
  EXPECT_STREQ(to_string(HorizonKind::kBackgroundWorker), "background worker");
}

}  // namespace
}  // namespace pgleak
