// Owns: what may be done about a leak: which action is due, how often, and what has become of it.
// Called by the scanner. Must never allocate, know the server or read a clock. Never ereports.
#ifndef PGLEAK_CORE_ACTION_HPP
#define PGLEAK_CORE_ACTION_HPP

#include <cstdint>

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// The order is that of severity.
enum class Action : std::uint8_t { kNone, kCancel, kTerminate };

// What became of an action. Only kDone ends it for good; the others may be tried again.
enum class ActionResult : std::uint8_t {
  kNone,
  kRequested,  // logged and queued, and the session is being asked
  kDone,       // cancel: rolled back in place, or the query cancelled; terminate: the backend is told to go
  kDryRun,     // dry run
  kSkipped,    // the session moved on before it was reached
  kUnsafe,     // the session did not reach a point at which it could be done safely
  kNoEffect,   // the session was told and went on
  kNoEffectOnClientWait,  // it waits for its client in the middle of a command, and does not react to a
                          // cancel there
  kStandby,               // it commits and waits for a synchronous standby: never touched
};

// As pgleak.leaks.last_action and last_action_result print them; nullptr for kNone.
const char* to_string(Action action);
const char* to_string(ActionResult result);

// Why an action is taken, for the messages that the client and the log get.
struct ActionReason {
  std::int64_t leak_id;
  Clock clock;
  Micros lasted;            // what the clock showed
  Micros limit;             // kNever: not a limit, somebody asked for it
  char by_role[kNameSize];  // who, if somebody did
};

inline constexpr int kReasonSize = 256;

// Writes why an action was taken, in the words of the log, of the client's error and of the FATAL alike: "it
// was idle for 61.2s, the limit is 60s", or with ", at the request of role \"x\"" for a manual action.
void describe_reason(const ActionReason& reason, char (&text)[kReasonSize]);

// The state of the actions of one episode.
struct ActionState {
  Action last;
  ActionResult result;
  WallTime at;             // of `last`
  std::uint8_t failures;   // of `last` in a row
  MonotonicTime retry_at;  // not before that
};

// An action that somebody asks for with pgleak.cancel() or pgleak.terminate(), in the slot of its session.
struct ManualRequest {
  // kFree: next kAsked, by the caller. kAsked: next kTaken, by the scanner, or kFree, if the caller gives up.
  // kTaken: next kFree, by the scanner.
  enum class Phase : std::uint8_t { kFree, kAsked, kTaken };
  Phase phase;
  Action action;
  std::uint64_t request_id;  // by which the asker finds the answer
  SessionId session;
  XactSeq xact_seq;         // of the one transaction that is meant
  char by_role[kNameSize];  // in the encoding of the asker's database
};

// The action that is due for a leak, or the next one that will be.
struct Plan {
  Action due;      // kNone if none is due now
  Action next;     // the next one in time, if none is due
  Micros next_in;  // until `next`; kForever if there is none
};

// Which action the limits demand of a session with these ages. Cancelling gains nothing from a plain aborted
// block (`xact_start` none: its transaction is over, it only costs the connection).
Plan plan_action(const Ages& ages, const Limits& limits, const SessionStatus& sample);

// True for results that leave the session as it was and are tried again.
bool has_failed(ActionResult result);

// True if the session was told and did not react.
bool had_no_effect(ActionResult result);

// When a failed action may be tried again: soon at first, then ever more seldom. What had no effect is not
// worth the first haste.
Micros retry_pause(ActionResult result, std::uint8_t failures);

// Lets at most `most` actions through in a minute, and after that none for a minute. Zero-initialised is
// fresh.
struct RateLimiter {
  MonotonicTime window_start;
  std::int32_t count;
  MonotonicTime closed_until;

  enum class Answer : std::uint8_t { kYes, kNo, kNoAndSayIt };
  Answer ask(std::int32_t most, MonotonicTime now);
};

}  // namespace pgleak

#endif
