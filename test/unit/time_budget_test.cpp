// Tests of core/time_budget: a scan does expensive work up to its budget and no more, but always at least one
// piece.
#include "core/time_budget.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

TEST(RationTest, AllowsWorkUntilItsTimeIsSpent) {
  TimeBudget budget{};
  EXPECT_TRUE(budget.allows(1));
  budget.spend(TimeBudget::kTime - 1_us);
  EXPECT_TRUE(budget.allows(2));
  EXPECT_FALSE(budget.has_deferred());
  budget.spend(1_us);
  EXPECT_FALSE(budget.allows(3));
  EXPECT_TRUE(budget.has_deferred());
}

TEST(RationTest, AllowsOnePieceHoweverLongItTakes) {
  TimeBudget budget{};
  EXPECT_TRUE(budget.allows(1));
  budget.spend(100 * TimeBudget::kTime);
  EXPECT_FALSE(budget.allows(2));
}

TEST(RationTest, LeavesNothingIfNothingMoreIsAskedFor) {
  TimeBudget budget{};
  EXPECT_TRUE(budget.allows(1));
  budget.spend(100 * TimeBudget::kTime);
  EXPECT_FALSE(budget.has_deferred());
}

TEST(RationTest, WorkThatTakesNoTimeUsesNothingUp) {
  TimeBudget budget{};
  for (int i = 0; i < 100'000; i++) EXPECT_TRUE(budget.allows(i));
  EXPECT_FALSE(budget.has_deferred());
}

TEST(RationTest, TheNextLookGoesOnWithTheFirstThatWasLeft) {
  TimeBudget budget{};
  budget.spend(TimeBudget::kTime);
  EXPECT_FALSE(budget.allows(0));
  EXPECT_EQ(budget.first_deferred(), 0);
  EXPECT_FALSE(budget.allows(7));
  EXPECT_EQ(budget.first_deferred(), 0);
}

TEST(RationTest, TheFirstLeftNeedNotHaveTheLowestNumber) {
  TimeBudget budget{};
  budget.spend(TimeBudget::kTime);
  EXPECT_FALSE(budget.allows(7));
  EXPECT_FALSE(budget.allows(3));
  EXPECT_EQ(budget.first_deferred(), 7);
}

}  // namespace
}  // namespace pgleak
