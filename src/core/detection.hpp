// Decides whether a session's transaction has passed its leak limit, and when to check again.
//
// Called by core/decision for each candidate, and by pgleak.leaks for the ages. Allocates nothing, never
// ereports.
#ifndef PGLEAK_CORE_DETECTION_HPP
#define PGLEAK_CORE_DETECTION_HPP

#include <optional>

#include "core/blocking_watch.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/stall_watch.hpp"
#include "core/time.hpp"

namespace pgleak {

// The clocks of one session. Zero-initialized for a session not seen before.
struct SessionClocks {
  SessionId id;
  Stopwatch idle;
  Stopwatch transaction;
  XactSeq xact_seq;  // of the transaction that the second one measures
  StallWatch stall;  // the idle clock of a session that is not idle in a transaction
  BlockingWatch blocking;
  BlockingWatch certain;  // the same without those who wait behind it by a guess
};

// An age that is known only up to the last check of what it measures.
struct LastCheck {
  Micros ago{0};
  Micros next_in{0};  // time until the next check; before that, the age does not grow
};

// The ages on the clocks; nothing where a clock does not apply in the session's state.
struct Ages {
  std::optional<Micros> idle;
  std::optional<Micros> transaction;
  std::optional<Micros> blocking;
  std::optional<Micros> certain_blocking{};  // without those who wait behind it by a guess
  LastCheck idle_check{};
  LastCheck blocking_check{};
  LastCheck certain_check{};

  // Time until `clock`, which shows `age`, may show `after`, and a scan can notice that.
  Micros due_in(Clock clock, Micros age, Micros after) const {
    const LastCheck check = clock == Clock::kIdle       ? idle_check
                            : clock == Clock::kBlocking ? blocking_check
                                                        : LastCheck{};
    const Micros due_in = after - age - check.ago;
    return due_in > check.next_in ? due_in : check.next_in;
  }

  std::optional<Micros> of(Clock clock) const {
    switch (clock) {
      case Clock::kIdle:
        return idle;
      case Clock::kTransaction:
        return transaction;
      case Clock::kBlocking:
        return blocking;
      case Clock::kPrepared:
        break;
    }
    return std::nullopt;
  }

  // What actions may go by: a guess may be wrong about who is to blame.
  Ages without_guesses() const {
    Ages ages = *this;
    ages.blocking = certain_blocking;
    ages.blocking_check = certain_check;
    return ages;
  }
};
static_assert(std::is_trivially_copyable_v<Ages> && std::is_trivially_destructible_v<Ages>,
              "an ERROR may pass over it");

// When an earlier scan would have noticed a change; see Stopwatch::observe.
struct PreviousScan {
  MonotonicTime at_idle;         // of sessions idle in a transaction
  MonotonicTime at_transaction;  // of all transactions; none if active sessions were skipped
};

// The transaction whose locks others may wait for. After an error, `block` is left without it.
inline TransactionBlock holding_transaction(const SessionStatus& status, const TransactionBlock& block) {
  return status.xact_start.is_set() ? block : TransactionBlock{};
}

// Whether others wait behind a session.
enum class Waiters : std::uint8_t {
  kNone,
  kGuessed,  // all of them wait behind somebody, and that it is this session is a guess
  kCertain,
};

// Notes whether others wait behind the session in `status`; nothing if the scan has not looked for that.
// Resets the clocks if they belonged to another session.
void observe_waiters(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block,
                     std::optional<Waiters> waiters, MonotonicTime now);

// Feeds the clocks of the session in `status` with what was just seen. Resets them if they belonged to
// another session. `waiters` and `evidence` are nothing if the scan has not looked for that.
void observe_session(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block,
                     std::optional<Waiters> waiters, const std::optional<ProgressEvidence>& evidence,
                     bool waits_for_client, MonotonicTime now);

// Reads the clocks of the session in `status`, whose block is `block`. Resets `clocks` if they belonged to
// another session.
Ages measure_ages(SessionClocks* clocks, const SessionStatus& status, const TransactionBlock& block, Now now,
                  PreviousScan previous);

struct Detection {
  bool is_leak;
  Clock clock;           // the clock that met its limit; idle if both did
  Micros age;            // on that clock
  Micros limit;          // on that clock
  LimitSource source;    // of that limit
  std::int32_t rule_id;  // if `source` is kRule
  Micros next_due_in;    // time until the next limit of any kind is met; kForever: there is none
};

Detection detect_leak(const Ages& ages, const Limits& limits);

}  // namespace pgleak

#endif
