// Tests of core/time: arithmetic on times and durations is right, and mixing them does not compile.
#include "core/time.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

#include "samples.hpp"

namespace pgleak {
namespace {

// Whether `Operation`, such as std::plus<>, compiles for operands of these types.
template <typename Operation, typename... Operands>
constexpr bool kCompiles = std::is_invocable_v<Operation, Operands...>;

template <typename Operation, typename Left, typename Right, typename Result>
constexpr bool kYields = std::is_same_v<std::invoke_result_t<Operation, Left, Right>, Result>;

using Plus = std::plus<>;
using Minus = std::minus<>;
using Times = std::multiplies<>;
using Divided = std::divides<>;
using Less = std::less<>;
using Equal = std::equal_to<>;

// Whether `left += right` and `left -= right` compile.
template <typename Left, typename Right, typename = void>
constexpr bool kCanAdvance = false;
template <typename Left, typename Right>
constexpr bool kCanAdvance<Left, Right,
                           std::void_t<decltype(std::declval<Left&>() += std::declval<Right>(),
                                                std::declval<Left&>() -= std::declval<Right>())>> = true;

// --- what is meaningful ---

static_assert(kYields<Minus, WallTime, WallTime, Micros>);
static_assert(kYields<Minus, MonotonicTime, MonotonicTime, Micros>);
static_assert(kYields<Plus, WallTime, Micros, WallTime>);
static_assert(kYields<Plus, Micros, MonotonicTime, MonotonicTime>);
static_assert(kYields<Minus, MonotonicTime, Micros, MonotonicTime>);
static_assert(kYields<Plus, Micros, Micros, Micros>);
static_assert(kYields<Minus, Micros, Micros, Micros>);
static_assert(kYields<Times, Micros, int, Micros> && kYields<Times, int, Micros, Micros>);
static_assert(kYields<Divided, Micros, int, Micros>);
static_assert(kYields<Divided, Micros, Micros, std::int64_t>);
static_assert(kCanAdvance<WallTime, Micros> && kCanAdvance<MonotonicTime, Micros> &&
              kCanAdvance<Micros, Micros>);
static_assert(kCompiles<Less, WallTime, WallTime> && kCompiles<Less, MonotonicTime, MonotonicTime> &&
              kCompiles<Less, Micros, Micros>);

// --- what is not ---

template <typename Left, typename Right>
constexpr bool kMixes =
    kCompiles<Plus, Left, Right> || kCompiles<Minus, Left, Right> || kCompiles<Less, Left, Right> ||
    kCompiles<Equal, Left, Right> || kCanAdvance<Left, Right> || std::is_convertible_v<Right, Left> ||
    std::is_assignable_v<Left&, Right> || std::is_constructible_v<Left, Right>;

static_assert(!kMixes<WallTime, MonotonicTime> && !kMixes<MonotonicTime, WallTime>, "two clocks do not mix");
static_assert(!kCompiles<Plus, WallTime, WallTime> && !kCompiles<Plus, MonotonicTime, MonotonicTime>,
              "the sum of two times is none");
static_assert(!kCompiles<Minus, Micros, WallTime> && !kCompiles<Minus, Micros, MonotonicTime>);
static_assert(!kCompiles<Times, WallTime, int> && !kCompiles<Divided, WallTime, WallTime>);
static_assert(!kCompiles<Times, Micros, Micros>, "there are no square microseconds");
static_assert(!kCompiles<Less, WallTime, Micros> && !kCompiles<Equal, MonotonicTime, Micros>);
static_assert(!std::is_convertible_v<Micros, WallTime> && !std::is_convertible_v<WallTime, Micros>);
static_assert(!std::is_constructible_v<Micros, WallTime> && !std::is_constructible_v<WallTime, Micros>);

// A bare integer must say what it is, and nothing converts to one implicitly.
template <typename Time, typename Number>
constexpr bool kTakesBareNumbers =
    kCompiles<Plus, Time, Number> || kCompiles<Plus, Number, Time> || kCompiles<Minus, Time, Number> ||
    kCompiles<Minus, Number, Time> || kCompiles<Less, Time, Number> || kCompiles<Equal, Time, Number> ||
    kCanAdvance<Time, Number> || std::is_convertible_v<Number, Time> || std::is_convertible_v<Time, Number> ||
    std::is_assignable_v<Time&, Number> || std::is_assignable_v<Number&, Time>;

template <typename Time>
constexpr bool kTakesAnyBareNumber = kTakesBareNumbers<Time, int> || kTakesBareNumbers<Time, std::int64_t> ||
                                     kTakesBareNumbers<Time, double> || kTakesBareNumbers<Time, bool>;

static_assert(!kTakesAnyBareNumber<Micros>);
static_assert(!kTakesAnyBareNumber<WallTime>);
static_assert(!kTakesAnyBareNumber<MonotonicTime>);

// Checks the checks themselves: plain integers would not pass them.
static_assert(kMixes<std::int64_t, std::int64_t> && kTakesAnyBareNumber<std::int64_t>);

TEST(MicrosTest, AddUpAndAreScaled) {
  EXPECT_EQ(kSecond.us, 1'000'000);
  EXPECT_EQ(kSecond + kMillisecond, Micros{1'001'000});
  EXPECT_EQ(kMillisecond - kSecond, Micros{-999'000});
  EXPECT_EQ(-kSecond, Micros{-1'000'000});
  EXPECT_EQ(3 * kSecond, kSecond * 3);
  EXPECT_EQ(kSecond / 3, Micros{333'333});
  EXPECT_EQ(90 * kSecond / kMinute, 1) << "the ratio is a number";

  Micros sum{5};
  sum += Micros{7};
  sum -= Micros{2};
  sum *= 10;
  EXPECT_EQ(sum, Micros{100});
}

TEST(MicrosTest, AreOrdered) {
  EXPECT_TRUE(kMillisecond < kSecond && kMillisecond <= kSecond && kMillisecond != kSecond);
  EXPECT_TRUE(kSecond > kMillisecond && kSecond >= kMillisecond && kSecond == 1000 * kMillisecond);
  EXPECT_FALSE(kSecond < kMillisecond || kSecond <= kMillisecond || kSecond != 1000 * kMillisecond);
  EXPECT_FALSE(kMillisecond > kSecond || kMillisecond >= kSecond || kMillisecond == kSecond);
  EXPECT_LT(100 * 365 * 24 * kHour, kForever);
}

template <typename Time>
class TimePointTest : public testing::Test {};
using BothClocks = testing::Types<WallTime, MonotonicTime>;
TYPED_TEST_SUITE(TimePointTest, BothClocks, );

TYPED_TEST(TimePointTest, MovesByDurations) {
  const TypeParam start{1000};
  EXPECT_EQ(start + Micros{5}, TypeParam{1005});
  EXPECT_EQ(Micros{5} + start, TypeParam{1005});
  EXPECT_EQ(start - Micros{5}, TypeParam{995});
  EXPECT_EQ(TypeParam{1005} - start, Micros{5});
  EXPECT_EQ(start - TypeParam{1005}, Micros{-5});

  TypeParam time = start;
  time += Micros{5};
  EXPECT_EQ(time, TypeParam{1005});
  time -= Micros{6};
  EXPECT_EQ(time, TypeParam{999});
}

TYPED_TEST(TimePointTest, IsOrdered) {
  const TypeParam early{1};
  const TypeParam late{2};
  EXPECT_TRUE(early < late && early <= late && late > early && late >= early && early != late);
  EXPECT_FALSE(late < early || late <= early || early > late || early >= late || early == late);
  EXPECT_TRUE(early <= early && early >= early && early == early);
}

TYPED_TEST(TimePointTest, OfZeroIsNone) {
  EXPECT_FALSE(TypeParam::none().is_set());
  EXPECT_FALSE(TypeParam{}.is_set());
  EXPECT_TRUE(TypeParam{1}.is_set());
  EXPECT_TRUE(TypeParam{-1}.is_set()) << "a wall clock may be before its zero";
}

TEST(WallTimeTest, EndsLaterThanAnything) {
  EXPECT_GT(kEndOfTime, wall_at(kForever - 1_us));
  EXPECT_TRUE(kEndOfTime.is_set());
}

TEST(TimeTest, MemoryFilledWithZerosHoldsNoneOfThem) {
  struct Shared {
    std::atomic<WallTime> wall;
    std::atomic<MonotonicTime> monotonic;
    std::atomic<Micros> duration;
  };
  const Shared shared{};
  EXPECT_FALSE(shared.wall.load().is_set());
  EXPECT_FALSE(shared.monotonic.load().is_set());
  EXPECT_EQ(shared.duration.load(), Micros{0});
}

}  // namespace
}  // namespace pgleak
