// Owns: the limits of a session on the two clocks and which source each one comes from.
// Called by the scanner at every look, by the guest to publish a session's own limits, and by the
// SQL functions. Must never allocate or know the server. Never ereports.
#ifndef PGLEAK_CORE_LIMITS_HPP
#define PGLEAK_CORE_LIMITS_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

enum class Clock : std::uint8_t { kIdle, kTransaction };
inline constexpr int kClockCount = 2;

// What a limit brings about. The order is the order in which a leak meets them.
enum class LimitKind : std::uint8_t { kLeak, kCancel, kTerminate };
inline constexpr int kLimitKindCount = 3;

inline constexpr int kLimitCount = kClockCount * kLimitKindCount;

// Position of a limit in the arrays below.
constexpr int limit_index(Clock clock, LimitKind kind) {
  return static_cast<int>(clock) * kLimitKindCount + static_cast<int>(kind);
}

// Where the value of a limit comes from. The session's own value (role, database, SET) wins over a
// rule, a rule over the server's value. kManual: no limit was met, somebody asked for an action.
enum class LimitSource : std::uint8_t { kServer, kRule, kSession, kManual };

// Duration 0 means never.
inline constexpr Micros kNever{0};

// Marks a limit for which a session or a rule has nothing to say.
inline constexpr Micros kNotSet{-1};

// Limits as somebody wrote them: us, 0 for never, kNotSet where unset.
struct LimitValues {
  Micros value[kLimitCount];
};

// What the one rule that decides about a session says.
struct RuleLimits {
  std::int32_t id;  // pgleak.rules.id
  LimitValues limits;
};

// The limits that apply to one session. Unset is gone: every value is a duration or kNever.
struct Limits {
  Micros value[kLimitCount];
  LimitSource source[kLimitCount];
  std::int32_t rule_id;  // of those whose source is kRule

  // How long a session may go on `clock` until `kind` happens; kNever when it never does. An action
  // belongs to a leak, so it is never due before the leak limit, and a clock without a leak limit
  // acts on nobody.
  Micros after(Clock clock, LimitKind kind) const;

  LimitSource leak_source(Clock clock) const { return source[limit_index(clock, LimitKind::kLeak)]; }
};

// The session's own value where it has one, else the rule's if there is a rule and it has one, else the
// server's.
Limits resolve_limits(const LimitValues& own, const RuleLimits* rule, const LimitValues& server);

// True if any session with these values needs the transaction clock.
bool uses_transaction_clock(const LimitValues& values);

// Names as users see them.
const char* to_string(Clock clock);

// A source as users see it: "session", "rule 3", "server", "by hand".
struct SourceName {
  char text[20];
};
SourceName name_of(LimitSource source, std::int32_t rule_id);

}  // namespace pgleak

#endif
