// Owns: the tests of core/impact: what a session holds, graded.
#include "core/impact.hpp"

#include <gtest/gtest.h>

namespace pgleak {
namespace {

TEST(GradeTest, FollowsTheWorstThatASessionHolds) {
  EXPECT_EQ(grade(Holdings{0, 0, 0, 0}), Impact::kNone);
  EXPECT_EQ(grade(Holdings{0, 0, 3, 0}), Impact::kLocks);
  EXPECT_EQ(grade(Holdings{0, 700, 3, 0}), Impact::kHorizon);
  EXPECT_EQ(grade(Holdings{700, 0, 0, 0}), Impact::kHorizon);
  EXPECT_EQ(grade(Holdings{0, 0, 1, 1}), Impact::kBlocking);
  EXPECT_EQ(grade(Holdings{700, 700, 9, 4}), Impact::kBlocking);
}

TEST(GradeTest, IsOrdered) {
  EXPECT_LT(Impact::kNone, Impact::kLocks);
  EXPECT_LT(Impact::kLocks, Impact::kHorizon);
  EXPECT_LT(Impact::kHorizon, Impact::kBlocking);
}

TEST(ImpactNameTest, AreThoseOfTheViewsAndTheSetting) {
  EXPECT_STREQ(to_string(Impact::kNone), "none");
  EXPECT_STREQ(to_string(Impact::kLocks), "locks");
  EXPECT_STREQ(to_string(Impact::kHorizon), "horizon");
  EXPECT_STREQ(to_string(Impact::kBlocking), "blocking");
}

}  // namespace
}  // namespace pgleak
