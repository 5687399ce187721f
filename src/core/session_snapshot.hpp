// The input of core/decision: the facts about one session, read in one scan, and those that all sessions of
// that scan share.
//
// scanner/session_reader fills it. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_SESSION_SNAPSHOT_HPP
#define PGLEAK_CORE_SESSION_SNAPSHOT_HPP

#include <cstdint>
#include <optional>

#include "core/action.hpp"
#include "core/contention.hpp"
#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/handshake.hpp"
#include "core/impact.hpp"
#include "core/rules.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// What a session waits for, as far as it matters for actions.
enum class SessionWait : std::uint8_t { kOther, kClientRead, kClientWrite, kSyncRep };

// An action under way, as the scanner remembers it between two scans.
struct RunningAction {
  Action action;   // kNone: none is under way
  bool is_signal;  // the session was active and got a signal; else it is reached through the client read
  WallTime state_start;  // of the state that was judged
  bool has_sigterm;      // SIGTERM was sent
  MonotonicTime started_at;
  std::uint32_t nonce;  // of the last message
  Handshake handshake;
};

// The values of a session that its limits depend on.
struct LimitFacts {
  LimitValues own;
  std::optional<Impact> own_min_impact;  // pgleak.action_min_impact, where the session has its own
  RuleBits matches;                      // the rules that may decide; see match_rules()
  WallTime matches_until;                // kEndOfTime, or when another rule may match
};

// Who the session is and what it ran last, for the episode that opens.
struct SessionDetails {
  SessionIdentity who;
  std::int32_t proc_index;   // position of its process in ProcGlobal->allProcs
  std::uint32_t wait_event;  // what it waits for, as the server numbers it; 0: nothing
  const char* statement;     // in the scanner's buffer, valid until the next session is read
};

// Everything about one session that a decision may need, read once at one moment of a scan. `held` and
// `details` cost more than the rest, so they are read only when a first decision asks for them.
struct SessionSnapshot {
  int slot;  // for the time budgets: where the next scan continues
  Now now;   // not earlier than anything in `status`

  // From the backend status array and the backend's slot. With an open episode: is this still its session?
  bool is_present;
  bool is_client_backend;
  SessionStatus status;            // only if present
  std::uint64_t query_id;          // of its statement; 0: unknown
  SessionState last_state;         // also of a session that has gone
  TransactionEnd watched_end;      // how the transaction of the open episode ended
  bool is_declared;                // idle in its transaction on purpose: see BackendSlot::publish_declared()
  bool is_superuser;               // the login role is; only with an open episode
  bool leaves_debris;              // see BackendSlot::publish_debris()
  WallTime aborted_at;             // see ActionSlot::aborted_at
  std::optional<Waiters> waiters;  // nothing if this scan has not looked for that
  std::optional<ProgressEvidence> evidence;  // nothing if it was read a moment ago, or costs in vain
  std::optional<LimitFacts> limits;          // nothing if the session cannot be identified now

  // What the scanner remembers.
  SessionClocks clocks;
  RunningAction action;
  std::optional<bool> client_gone;  // nothing if it was not looked for, or the system does not say
  Reply reply;       // the session's reply to the last message of `action`, read after `status`
  SessionWait wait;  // seen after `reply`; not for every session without an open episode
  std::optional<ManualRequest> manual;

  std::optional<HeldResources> held;
  std::optional<SessionDetails> details;
  const ContentionReading* contention;  // in the reader's buffer; nullptr if what is known is recent enough
};

// What is the same for all sessions of one scan.
struct ScanInputs {
  LimitValues server_limits;
  Impact server_min_impact;
  const RuleSet* rules;  // the scanner's copy
  bool rules_are_loaded;
  PreviousScan previous;
  bool dry_run;
  bool act_on_superusers;
  bool act_on_declared;
  std::int32_t max_actions_per_minute;
};

inline bool waits_for_client(const SessionSnapshot& snapshot) {
  return snapshot.wait == SessionWait::kClientRead || snapshot.wait == SessionWait::kClientWrite;
}

// The clock that a manual action refers to.
inline Clock clock_of(SessionState state) { return is_active(state) ? Clock::kTransaction : Clock::kIdle; }

// The limits of the session at these ages; nothing if they depend on its impact and the snapshot does not
// have that yet. Lowers `*next_due_in` to the time until another rule may match.
std::optional<Limits> find_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs, const Ages& ages,
                                  Micros* next_due_in);

// The same for actions, which go by no guess; `ages` are those without guesses.
std::optional<Limits> find_certain_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs,
                                          const Ages& ages, Micros* next_due_in);

}  // namespace pgleak

#endif
