// Owns: the decision whether a session's transaction is past its leak limit, and when to look again.
// Called by the scanner for each session it considers. Must never allocate. Never ereports.
#ifndef PGLEAK_CORE_DETECTION_HPP
#define PGLEAK_CORE_DETECTION_HPP

#include <optional>

#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// The clocks of one session. Zero-initialised for a session not seen before.
struct SessionClocks {
  SessionId id;
  Stopwatch idle;
  Stopwatch transaction;
  XactSeq xact_seq;  // of the transaction that the second one measures
};

// What the clocks show; nothing where a clock does not apply to the session's state.
struct Ages {
  std::optional<Micros> idle;
  std::optional<Micros> transaction;

  std::optional<Micros> of(Clock clock) const { return clock == Clock::kIdle ? idle : transaction; }
};
static_assert(std::is_trivially_copyable_v<Ages> && std::is_trivially_destructible_v<Ages>,
              "an ERROR may pass over it");

// When earlier looks would have seen something; see Stopwatch::observe.
struct PreviousScan {
  MonotonicTime at_idle;         // at sessions idle in a transaction
  MonotonicTime at_transaction;  // at every session's transaction; none if active ones were skipped
};

// Reads the clocks of the session in `sample`, whose block is `block`, starting `watch` anew if it
// belonged to another session.
Ages measure_ages(SessionClocks* watch, const SessionStatus& sample, const TransactionBlock& block, Now now,
                  PreviousScan previous);

struct Detection {
  bool is_leak;
  Clock clock;           // the clock that says so; idle before transaction if both do
  Micros age;            // on that clock
  Micros limit;          // on that clock
  LimitSource source;    // of that limit
  std::int32_t rule_id;  // if the source is a rule
  Micros next_due_in;    // until the next limit of any kind is met; kForever if there is none
};

Detection detect_leak(const Ages& ages, const Limits& limits);

}  // namespace pgleak

#endif
