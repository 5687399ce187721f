// What the scanner decides about one session: a pure function of what was read of it.
//
// The scanner reads a SessionSnapshot, decide() turns it into a Decision, and scanner/apply carries that out.
// All rules about the life of a leak are here: when an episode opens and how it ends, which action is due,
// what holds it off, and when a failed one may be tried again. decide() reads no clock, calls nothing but
// core/, and changes nothing but the budgets that it is given. Never allocates, never ereports.
#ifndef PGLEAK_CORE_DECISION_HPP
#define PGLEAK_CORE_DECISION_HPP

#include <cstdint>
#include <optional>

#include "core/action.hpp"
#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/handshake.hpp"
#include "core/impact.hpp"
#include "core/rules.hpp"
#include "core/session.hpp"
#include "core/time.hpp"
#include "core/time_budget.hpp"

namespace pgleak {

// What a session waits for, as far as it matters for actions.
enum class SessionWait : std::uint8_t { kOther, kClientRead, kClientWrite, kSyncRep };

// An action under way, as the scanner remembers it between two scans.
struct RunningAction {
  Action action;   // kNone: none is under way
  bool is_signal;  // the session was active and got a signal; else it is reached through the client read
  WallTime state_start;  // of the state that was judged
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
  std::int32_t proc_index;  // position of its process in ProcGlobal->allProcs
  const char* statement;    // in the scanner's buffer, valid until the next session is read
};

// Everything about one session that a decision may need, read once at one moment of a scan. `held` and
// `details` cost more than the rest, so they are read only when a first decision asks for them.
struct SessionSnapshot {
  int slot;  // for the time budgets: where the next scan continues
  Now now;   // not earlier than anything in `status`

  // From the backend status array and the backend's slot. With an open episode: is this still its session?
  bool is_present;
  bool is_client_backend;
  SessionStatus status;        // only if present
  std::uint64_t query_id;      // of its statement; 0: unknown
  SessionState last_state;     // also of a session that has gone
  TransactionEnd watched_end;  // how the transaction of the open episode ended
  bool is_declared;            // idle in its transaction on purpose: see BackendSlot::publish_declared()
  bool is_superuser;           // the login role is; only with an open episode
  bool leaves_debris;          // see BackendSlot::publish_debris()
  WallTime aborted_at;         // see ActionSlot::aborted_at
  std::optional<LimitFacts> limits;  // nothing if the session cannot be identified now

  // What the scanner remembers.
  SessionClocks clocks;
  RunningAction action;
  Reply reply;       // the session's reply to the last message of `action`, read after `status`
  SessionWait wait;  // seen after `reply`; only with an open episode
  std::optional<ManualRequest> manual;

  std::optional<HeldResources> held;
  std::optional<SessionDetails> details;
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

// What decisions use up. The time budgets last for one scan, the rest outlives it.
struct Budgets {
  TimeBudget records;  // opening and closing episodes
  TimeBudget actions;  // starting actions that limits demand; separate, so that these never wait for records
  RateLimiter rate;
  MonotonicTime rules_wanted_since;  // when an action began to wait for the rules; none: none is waiting
  bool has_warned_about_rules;
};

struct Decision {
  enum class EpisodeStep : std::uint8_t { kNone, kOpen, kKeep, kClose };
  enum class ActionStep : std::uint8_t {
    kNone,
    kBegin,      // write the evidence, then send the first message or the signal
    kDryRun,     // write what would be done
    kSend,       // send the next message of the handshake
    kTerminate,  // SIGTERM: the session did not reply in time
  };

  // --- asks for more: read it and decide again; nothing else counts then ---
  bool needs_held;
  bool needs_details;
  bool needs_more() const { return needs_held || needs_details; }

  EpisodeStep episode;
  std::optional<SessionClocks> clocks;  // the new clocks, to be stored
  Micros next_due_in;                   // until the next scan is needed; kForever: none is needed
  bool decide_again;                    // the session has more for this scan: read it again

  // --- kOpen ---
  TransactionBlock block;
  Detection detection;
  Ages ages;  // also of kBegin

  // --- kKeep: the new state of the episode ---
  EpisodeProgress progress;
  ImpactSample impact;      // its impact now
  bool has_impact;          // `impact` was measured
  bool has_left_locks;      // the cancel is done, and somebody still waits: log it once
  bool has_begun_to_block;  // log it, and queue an event
  bool has_plan;            // show `next_action`
  Action next_action;       // kNone: none, or held
  WallTime next_action_at;
  ActionHold hold;  // what keeps the next action from being taken

  // --- kClose ---
  Outcome outcome;

  // --- actions ---
  std::optional<ActionResult> finished;  // the action under way is over; report it
  ActionStep step;
  Action action;
  ActionReason reason;
  bool spares_exported;                       // skip a transaction that has exported its snapshot
  std::optional<ActionResult> manual_answer;  // to a request that begins no action
  bool is_manual;                             // because of SessionSnapshot::manual
  bool warns_about_rate;                      // log that actions stop for a minute
  bool warns_about_rules;                     // log that limits act without the rules
};

// `open` is the open episode of the slot, or nullptr. The same snapshot gives the same decision, except that
// the budgets have been used up further.
Decision decide(const SessionSnapshot& snapshot, const Episode* open, const ScanInputs& inputs,
                Budgets* budgets);

// How often a running action is polled when nothing wakes the scanner.
inline constexpr Micros kActionPollInterval = kMillisecond;

}  // namespace pgleak

#endif
