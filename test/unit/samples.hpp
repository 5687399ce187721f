// Shared by the tests about sessions: a machine whose clocks the test controls, the status of a session in
// each possible state, and the names of states and outcomes in failed expectations.
#ifndef PGLEAK_TEST_UNIT_SAMPLES_HPP
#define PGLEAK_TEST_UNIT_SAMPLES_HPP

#include <ostream>

#include "core/episode.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr Micros kMinute = 60 * kSecond;
inline constexpr Micros kHour = 60 * kMinute;

constexpr Micros operator""_us(unsigned long long microseconds) {
  return Micros{static_cast<std::int64_t>(microseconds)};
}

// Points on the clocks, at a distance from their zero.
constexpr WallTime wall_at(Micros since_zero) { return WallTime::none() + since_zero; }
constexpr MonotonicTime monotonic_at(Micros since_zero) { return MonotonicTime::none() + since_zero; }

inline std::ostream& operator<<(std::ostream& out, Micros duration) { return out << duration.us << " us"; }

template <typename Origin>
std::ostream& operator<<(std::ostream& out, TimePoint<Origin> time) {
  return out << "at " << time.us << " us";
}

// The two clocks of a machine. Only the test moves them.
class FakeTime {
 public:
  Now now() const { return Now{wall_, monotonic_}; }
  WallTime wall() const { return wall_; }
  MonotonicTime monotonic() const { return monotonic_; }

  void pass(Micros duration) {
    wall_ += duration;
    monotonic_ += duration;
  }
  // Sets the wall clock forward or (negative) back. No time passes.
  void set_wall_clock_by(Micros difference) { wall_ += difference; }

 private:
  WallTime wall_ = wall_at(840'000'000 * kSecond);  // in 2026
  MonotonicTime monotonic_ = monotonic_at(5000 * kSecond);
};

inline constexpr SessionId kSomeSession{4711, wall_at(839'990'000 * kSecond)};

// The status of a session in which `ended_count` transactions have ended, the last one by `last_end`.
struct SampleOf {
  SessionState state = SessionState::kIdle;
  WallTime xact_start = WallTime::none();
  WallTime state_start = WallTime::none();
  XactSeq ended_count = 0;
  TransactionEnd last_end = TransactionEnd::kNone;
  bool is_delivering = false;
  WallTime last_end_start = WallTime::none();
  SessionId id = kSomeSession;

  operator SessionStatus() const {
    return SessionStatus{id,          state,    xact_start,     state_start,
                         ended_count, last_end, last_end_start, is_delivering};
  }
};

inline SampleOf idle_in_transaction(WallTime xact_start, WallTime idle_since, XactSeq ended_count = 0) {
  SampleOf sample;
  sample.state = SessionState::kIdleInTransaction;
  sample.xact_start = xact_start;
  sample.state_start = idle_since;
  sample.ended_count = ended_count;
  if (ended_count > 0) sample.last_end = TransactionEnd::kCommitted;
  return sample;
}

inline SampleOf active_in_transaction(WallTime xact_start, WallTime active_since, XactSeq ended_count = 0) {
  SampleOf sample = idle_in_transaction(xact_start, active_since, ended_count);
  sample.state = SessionState::kActive;
  return sample;
}

// After an error outside a savepoint: the server no longer shows a transaction, only the state.
inline SampleOf plain_aborted(WallTime xact_start, WallTime idle_since, XactSeq xact_seq) {
  SampleOf sample;
  sample.state = SessionState::kIdleInTransactionAborted;
  sample.state_start = idle_since;
  sample.ended_count = xact_seq + 1;
  sample.last_end = TransactionEnd::kRolledBack;
  sample.last_end_start = xact_start;
  return sample;
}

// Limits with none set (kNotSet), for the test to fill in.
inline LimitValues nothing_set() {
  LimitValues values;
  for (Micros& value : values.value) value = kNotSet;
  return values;
}

// Limits with all off, for the test to fill in.
inline LimitValues all_off() {
  LimitValues values;
  for (Micros& value : values.value) value = kNever;
  return values;
}

inline LimitValues with(LimitValues values, Clock clock, LimitKind kind, Micros duration) {
  values.value[limit_index(clock, kind)] = duration;
  return values;
}

// Where no rule matches.
inline Limits resolve_limits(const LimitValues& own, const LimitValues& server) {
  return resolve_limits(own, nullptr, server);
}

inline void PrintTo(SessionState state, std::ostream* out) {
  const char* name = to_string(state);
  *out << (name != nullptr ? name : "unknown");
}

inline void PrintTo(Outcome outcome, std::ostream* out) {
  const char* name = to_string(outcome);
  *out << (name != nullptr ? name : "(goes on)");
}

inline void PrintTo(Clock clock, std::ostream* out) { *out << to_string(clock); }

inline void PrintTo(LimitSource source, std::ostream* out) { *out << name_of(source, 0).text; }

inline void PrintTo(TransactionEnd end, std::ostream* out) {
  static const char* const kNames[] = {"(not ended)", "committed", "rolled back", "prepared", "disconnected"};
  *out << kNames[static_cast<int>(end)];
}

}  // namespace pgleak

#endif
