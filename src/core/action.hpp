// What pgleak can do about a leak: which action is due, how often it may be tried, and its result.
//
// Called by core/decision. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_ACTION_HPP
#define PGLEAK_CORE_ACTION_HPP

#include <cstdint>

#include "core/detection.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// Ordered by severity.
enum class Action : std::uint8_t { kNone, kCancel, kTerminate };

// The result of an action. Only kDone is final; after the others, the action may be tried again.
enum class ActionResult : std::uint8_t {
  kNone,
  kRequested,  // logged and queued; the session is being asked
  kDone,       // cancel: rolled back in place, or the query cancelled; terminate: the session has gone
  kDryRun,     // not taken, because of a dry run
  kSkipped,    // the session moved on before it was reached
  kUnsafe,     // the session did not reach a point at which the action was safe
  kNoEffect,   // the session was told and did not react
  kNoEffectOnClientWait,  // the same: it waits for its client in the middle of a command
  kStandby,               // it waits for a synchronous standby: never touched
};

// The names in pgleak.leaks.last_action and last_action_result; nullptr for kNone. Static memory.
const char* to_string(Action action);
const char* to_string(ActionResult result);

// The limit or the role that demands an action.
struct ActionSource {
  LimitSource kind;
  std::int32_t rule_id;      // of kRule
  std::int32_t encoding;     // of by_login: that of the asking session's database
  char by_login[kNameSize];  // of kManual: who asked
};

inline constexpr int kActionSourceSize = 4 * kNameSize + 16;

// Writes the source as pgleak.leaks.action_source shows it: "server", "session", "rule 3", "by hand by
// alice".
void describe_source(const ActionSource& source, char (&text)[kActionSourceSize]);

// Why an action is taken, for the messages that the client and the log get.
struct ActionReason {
  std::int64_t leak_id;
  Clock clock;
  Micros lasted;  // what the clock showed
  Micros limit;   // kNever: no limit, a manual action
  ActionSource source;
};

inline constexpr int kReasonSize = 256;

// Writes the reason in the words that the log, the client's error and the FATAL share: "it was idle for
// 61.2s, the limit is 60s", followed by ", at the request of role \"x\"" for a manual action.
void describe_reason(const ActionReason& reason, char (&text)[kReasonSize]);

// The actions of one episode so far.
struct ActionState {
  Action last;
  ActionResult result;
  WallTime at;             // of `last`
  std::uint8_t failures;   // of `last` in a row
  bool has_logged_blocks;  // `still_blocks`: once, however often waiters come and go
  MonotonicTime retry_at;  // no attempt before that
  ActionSource source;     // of `last`
  // After a cancel that is done: the number of sessions that still wait for what it did not free.
  std::int32_t still_blocks;
};

inline constexpr int kResultSize = 48;

// Writes the result as pgleak.leaks.last_action_result shows it: to_string(), and "done, still blocks 3".
void describe_result(const ActionState& state, char (&text)[kResultSize]);

// An action requested with pgleak.cancel() or pgleak.terminate(), in the slot of the target session.
struct ManualRequest {
  // kFree: next kAsked, by the caller. kAsked: next kTaken, by the scanner, or kFree, if the caller gives up.
  // kTaken: next kFree, by the scanner.
  enum class Phase : std::uint8_t { kFree, kAsked, kTaken };
  Phase phase;
  Action action;
  std::uint64_t request_id;  // under which the caller finds the answer
  SessionId session;
  XactSeq xact_seq;          // of the transaction to act on
  std::int32_t encoding;     // of by_login: that of the caller's database
  char by_login[kNameSize];  // the login of the caller
};

// What keeps limits from acting on a session.
enum class HoldReason : std::uint8_t {
  kNone,
  kSuperuser,
  kDeclared,     // idle in its transaction on purpose, and says so
  kStandby,      // it waits for a synchronous standby
  kDebris,       // a cancel would leave an invalid index or partition behind
  kWaitsBehind,  // it waits for a lock itself: a victim
  kGuess,        // that others wait behind it is a guess, and nothing else demands the action
  kRulesNotLoaded,
  kImpact,  // less than the action needs
  kDryRun,
  kRateLimit,
};

struct ActionHold {
  HoldReason reason;
  Impact min_impact;      // of kImpact
  std::int32_t root_pid;  // of kWaitsBehind; 0: a prepared transaction, or not known
  WallTime until;         // of kRateLimit
};

inline constexpr int kHoldSize = 64;

// Writes the hold as pgleak.leaks.action_held_by shows it, but for the time of kRateLimit, which follows the
// text; an empty string for kNone.
void describe_hold(const ActionHold& hold, char (&text)[kHoldSize]);

// The action that is due for a leak, or the next one that will be.
struct Plan {
  Action due;          // kNone: none is due now
  Action next;         // the earliest future action
  Micros next_in;      // time until `next`; kForever: there is none
  Micros next_due_in;  // time until a scan may find an action due; kForever: none will be
};

// Returns the action that the limits demand at these ages. It never cancels a plain aborted block
// (`xact_start` none): the transaction is over, and only the connection is still in use.
// What a session holds outside of a transaction can only be freed by a terminate, and only the blocking clock
// demands that: keeping a session-level lock while idle is what the session is for, until others wait.
Plan plan_action(const Ages& ages, const Limits& limits, const SessionStatus& status, bool is_session_level);

// True if `clock` may demand actions on such a session at all.
inline bool may_demand_action(Clock clock, bool is_session_level) {
  return !is_session_level || clock == Clock::kBlocking;
}

// True for results that leave the session as it was and are tried again.
bool has_failed(ActionResult result);

// True if the session was told and did not react.
bool had_no_effect(ActionResult result);

// How long to wait before a failed action may be tried again: 50 ms at first, doubling to 30 s; 1 s, doubling
// to 1 min, if it had no effect.
Micros retry_pause(ActionResult result, std::uint8_t failures);

// Allows at most `most` actions per minute; once exceeded, none for one minute. Zero-initialized means
// unused.
struct RateLimiter {
  MonotonicTime window_start;
  std::int32_t count;
  MonotonicTime closed_until;
  std::int32_t most_before;  // a changed limit starts a new minute

  // True while no more actions are allowed; asking uses nothing up.
  bool is_closed(std::int32_t most, MonotonicTime now) const {
    return closed_until > now && most == most_before;
  }

  enum class Answer : std::uint8_t { kYes, kNo, kNoAndSayIt };
  Answer ask(std::int32_t most, MonotonicTime now);
};

}  // namespace pgleak

#endif
