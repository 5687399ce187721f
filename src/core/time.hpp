// Durations, wall-clock time and monotonic time: three types that do not mix. Reads no clock: callers pass
// `Now`, so tests control the time.
//
// Only meaningful operations compile. The difference of two times of one clock is a duration; a time plus or
// minus a duration is a time of the same clock; durations can be added and scaled by integers. A bare integer
// must say what it is: Micros{5}. Each type is one std::int64_t, in shared memory and in atomics too. A
// default-initialized value is uninitialized, as with an integer.
#ifndef PGLEAK_CORE_TIME_HPP
#define PGLEAK_CORE_TIME_HPP

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace pgleak {

// A duration in microseconds.
struct Micros {
  // cppcheck-suppress uninitMemberVar ; see above
  Micros() = default;
  constexpr explicit Micros(std::int64_t microseconds) : us(microseconds) {}

  constexpr Micros& operator+=(Micros other) { return *this = Micros{us + other.us}; }
  constexpr Micros& operator-=(Micros other) { return *this = Micros{us - other.us}; }
  constexpr Micros& operator*=(std::int64_t factor) { return *this = Micros{us * factor}; }

  std::int64_t us;
};

constexpr bool operator==(Micros a, Micros b) { return a.us == b.us; }
constexpr bool operator!=(Micros a, Micros b) { return a.us != b.us; }
constexpr bool operator<(Micros a, Micros b) { return a.us < b.us; }
constexpr bool operator<=(Micros a, Micros b) { return a.us <= b.us; }
constexpr bool operator>(Micros a, Micros b) { return a.us > b.us; }
constexpr bool operator>=(Micros a, Micros b) { return a.us >= b.us; }

constexpr Micros operator-(Micros a) { return Micros{-a.us}; }
constexpr Micros operator+(Micros a, Micros b) { return Micros{a.us + b.us}; }
constexpr Micros operator-(Micros a, Micros b) { return Micros{a.us - b.us}; }
constexpr Micros operator*(Micros a, std::int64_t factor) { return Micros{a.us * factor}; }
constexpr Micros operator*(std::int64_t factor, Micros a) { return Micros{factor * a.us}; }
constexpr Micros operator/(Micros a, std::int64_t divisor) { return Micros{a.us / divisor}; }

constexpr Micros sooner(Micros a, Micros b) { return a < b ? a : b; }

// How often `b` fits into `a`.
constexpr std::int64_t operator/(Micros a, Micros b) { return a.us / b.us; }

// A point on one of the two clocks below, in microseconds since the clock's zero.
template <typename Origin>
struct TimePoint {
  // cppcheck-suppress uninitMemberVar ; see above
  TimePoint() = default;
  constexpr explicit TimePoint(std::int64_t microseconds) : us(microseconds) {}

  // The absence of a time, as in the backend status array. Zero-filled memory holds it.
  static constexpr TimePoint none() { return TimePoint{0}; }
  constexpr bool is_set() const { return us != 0; }

  constexpr TimePoint& operator+=(Micros duration) { return *this = *this + duration; }
  constexpr TimePoint& operator-=(Micros duration) { return *this = *this - duration; }

  friend constexpr bool operator==(TimePoint a, TimePoint b) { return a.us == b.us; }
  friend constexpr bool operator!=(TimePoint a, TimePoint b) { return a.us != b.us; }
  friend constexpr bool operator<(TimePoint a, TimePoint b) { return a.us < b.us; }
  friend constexpr bool operator<=(TimePoint a, TimePoint b) { return a.us <= b.us; }
  friend constexpr bool operator>(TimePoint a, TimePoint b) { return a.us > b.us; }
  friend constexpr bool operator>=(TimePoint a, TimePoint b) { return a.us >= b.us; }

  friend constexpr TimePoint operator+(TimePoint a, Micros duration) { return TimePoint{a.us + duration.us}; }
  friend constexpr TimePoint operator+(Micros duration, TimePoint a) { return TimePoint{duration.us + a.us}; }
  friend constexpr TimePoint operator-(TimePoint a, Micros duration) { return TimePoint{a.us - duration.us}; }
  friend constexpr Micros operator-(TimePoint a, TimePoint b) { return Micros{a.us - b.us}; }

  std::int64_t us;
};

// A point on the wall clock: since 2000-01-01 UTC, the server's TimestampTz.
using WallTime = TimePoint<struct WallClock>;

// A point on the monotonic clock, since an arbitrary start. Comparable across the processes of one machine,
// and unaffected when somebody sets the wall clock.
using MonotonicTime = TimePoint<struct MonotonicClock>;

static_assert(std::is_trivial_v<Micros> && std::is_trivial_v<WallTime> && std::is_trivial_v<MonotonicTime>,
              "they live in shared memory");
static_assert(sizeof(Micros) == sizeof(std::int64_t) && sizeof(WallTime) == sizeof(std::int64_t) &&
                  sizeof(MonotonicTime) == sizeof(std::int64_t),
              "they cost no more than integers");
static_assert(std::atomic<Micros>::is_always_lock_free && std::atomic<WallTime>::is_always_lock_free &&
                  std::atomic<MonotonicTime>::is_always_lock_free,
              "processes share them in atomics");

inline constexpr Micros kMillisecond{1000};
inline constexpr Micros kSecond = 1000 * kMillisecond;
inline constexpr Micros kForever{INT64_MAX};

// Later than any other time; the server's 'infinity'.
inline constexpr WallTime kEndOfTime{INT64_MAX};

// Both clocks, read at the same moment.
struct Now {
  WallTime wall;
  MonotonicTime monotonic;
};

}  // namespace pgleak

#endif
