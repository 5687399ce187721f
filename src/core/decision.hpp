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
#include "core/session_snapshot.hpp"
#include "core/time.hpp"
#include "core/time_budget.hpp"

namespace pgleak {

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
  bool is_session_level;  // see Episode
  Detection detection;
  Ages ages;  // also of kBegin

  // --- kKeep: the new state of the episode ---
  EpisodeProgress progress;
  ImpactSample impact;      // its impact now
  bool has_impact;          // `impact` was measured
  bool waits_for_lock;      // the session itself waits for one; with `impact`
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
