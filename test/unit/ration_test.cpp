// Owns: the tests of core/ration: a look does so much of what takes long and no more, but always something.
#include "core/ration.hpp"

#include <gtest/gtest.h>

namespace pgleak {
namespace {

TEST(RationTest, AllowsWorkUntilItsTimeIsSpent) {
  Ration ration{};
  EXPECT_TRUE(ration.allows(1));
  ration.spend(Ration::kTime - 1);
  EXPECT_TRUE(ration.allows(2));
  EXPECT_FALSE(ration.has_left_work());
  ration.spend(1);
  EXPECT_FALSE(ration.allows(3));
  EXPECT_TRUE(ration.has_left_work());
}

TEST(RationTest, AllowsOnePieceHoweverLongItTakes) {
  Ration ration{};
  EXPECT_TRUE(ration.allows(1));
  ration.spend(100 * Ration::kTime);
  EXPECT_FALSE(ration.allows(2));
}

TEST(RationTest, LeavesNothingIfNothingMoreIsAskedFor) {
  Ration ration{};
  EXPECT_TRUE(ration.allows(1));
  ration.spend(100 * Ration::kTime);
  EXPECT_FALSE(ration.has_left_work());
}

TEST(RationTest, WorkThatTakesNoTimeUsesNothingUp) {
  Ration ration{};
  for (int i = 0; i < 100'000; i++) EXPECT_TRUE(ration.allows(i));
  EXPECT_FALSE(ration.has_left_work());
}

TEST(RationTest, TheNextLookGoesOnWithTheFirstThatWasLeft) {
  Ration ration{};
  ration.spend(Ration::kTime);
  EXPECT_FALSE(ration.allows(0));
  EXPECT_EQ(ration.first_left(), 0);
  EXPECT_FALSE(ration.allows(7));
  EXPECT_EQ(ration.first_left(), 0);
}

TEST(RationTest, TheFirstLeftNeedNotHaveTheLowestNumber) {
  Ration ration{};
  ration.spend(Ration::kTime);
  EXPECT_FALSE(ration.allows(7));
  EXPECT_FALSE(ration.allows(3));
  EXPECT_EQ(ration.first_left(), 7);
}

}  // namespace
}  // namespace pgleak
