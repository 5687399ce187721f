// Tests of core/change_watch: it asks for a check after each change, and for another a moment later.
#include "core/change_watch.hpp"

#include <gtest/gtest.h>

#include "samples.hpp"

namespace pgleak {
namespace {

TEST(ChangeWatch, LooksTwiceAtFirst) {
  ChangeWatch watch{};
  EXPECT_TRUE(watch.may_have_changed(0, monotonic_at(1000 * kSecond)));
  EXPECT_TRUE(watch.may_have_changed(0, monotonic_at(1001 * kSecond)));
  EXPECT_FALSE(watch.may_have_changed(0, monotonic_at(1002 * kSecond)));
}

class QuietWatch : public testing::Test {
 protected:
  QuietWatch() {
    watch.may_have_changed(7, monotonic_at(1000 * kSecond));
    watch.may_have_changed(7, monotonic_at(1001 * kSecond));
  }

  ChangeWatch watch{};
};

TEST_F(QuietWatch, LooksTwiceAfterAChange) {
  EXPECT_TRUE(watch.may_have_changed(8, monotonic_at(1002 * kSecond)));
  EXPECT_TRUE(watch.may_have_changed(8, monotonic_at(1003 * kSecond)));
  EXPECT_FALSE(watch.may_have_changed(8, monotonic_at(1004 * kSecond)));
}

TEST_F(QuietWatch, LooksTwiceAfterTheLastOfSeveralChanges) {
  EXPECT_TRUE(watch.may_have_changed(8, monotonic_at(1002 * kSecond)));
  EXPECT_TRUE(watch.may_have_changed(9, monotonic_at(1003 * kSecond)));
  EXPECT_TRUE(watch.may_have_changed(9, monotonic_at(1004 * kSecond)));
  EXPECT_FALSE(watch.may_have_changed(9, monotonic_at(1005 * kSecond)));
}

TEST_F(QuietWatch, LooksOnceAMinuteWithoutAChange) {
  EXPECT_FALSE(watch.may_have_changed(7, monotonic_at(1060 * kSecond)));
  EXPECT_TRUE(watch.may_have_changed(7, monotonic_at(1061 * kSecond)));
}

}  // namespace
}  // namespace pgleak
