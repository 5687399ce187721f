// The limits of a session on the three clocks, and the source of each.
//
// Used by the scanner at every scan, by each backend to publish its own limits, and by the SQL functions.
// Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_LIMITS_HPP
#define PGLEAK_CORE_LIMITS_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// kBlocking: how long the session has kept others waiting without a break; see core/blocking_watch.hpp.
// kPrepared is no clock of a session but of a prepared transaction: the time since PREPARE TRANSACTION. It
// has one limit, and nothing ever acts on it; see core/prepared.hpp.
enum class Clock : std::uint8_t { kIdle, kTransaction, kBlocking, kPrepared };
inline constexpr int kClockCount = 3;  // of a session

// What a limit does, in the order in which a leak reaches them.
enum class LimitKind : std::uint8_t { kLeak, kCancel, kTerminate };
inline constexpr int kLimitKindCount = 3;

inline constexpr int kLimitCount = kClockCount * kLimitKindCount;

// Index of a limit in the arrays below.
constexpr int limit_index(Clock clock, LimitKind kind) {
  return static_cast<int>(clock) * kLimitKindCount + static_cast<int>(kind);
}

// The source of a limit. The session's own value (role, database, SET) overrides a rule, and a rule overrides
// the server's value. kManual: an action was requested without a limit.
enum class LimitSource : std::uint8_t { kServer, kRule, kSession, kManual };

// A limit of 0 means never.
inline constexpr Micros kNever{0};

// A limit that a session or a rule leaves unset.
inline constexpr Micros kNotSet{-1};

// Limits as configured: us, kNever, or kNotSet.
struct LimitValues {
  Micros value[kLimitCount];
};

// The limits of the one rule that applies to a session.
struct RuleLimits {
  std::int32_t id;  // pgleak.rules.id
  LimitValues limits;
};

// The limits that apply to one session. None is unset: each is a duration or kNever.
struct Limits {
  Micros value[kLimitCount];
  LimitSource source[kLimitCount];
  std::int32_t rule_id;  // the rule, where the source is kRule

  // How long a session may go on `clock` until `kind` happens; kNever if it does not. An action needs a leak,
  // so it is never due before the leak limit, and without a leak limit on its clock it is never due.
  Micros after(Clock clock, LimitKind kind) const;

  LimitSource leak_source(Clock clock) const { return source[limit_index(clock, LimitKind::kLeak)]; }
};

// Takes each limit from the session's own values if set, else from the rule if there is one and it sets it,
// else from the server's.
Limits resolve_limits(const LimitValues& own, const RuleLimits* rule, const LimitValues& server);

// True if a session with these values needs the transaction clock.
bool uses_transaction_clock(const LimitValues& values);

// Names as users see them; static memory.
const char* to_string(Clock clock);

// A source as users see it: "session", "rule 3", "server", "by hand".
struct SourceName {
  char text[20];
};
SourceName name_of(LimitSource source, std::int32_t rule_id);

}  // namespace pgleak

#endif
