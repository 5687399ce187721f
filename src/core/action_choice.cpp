#include "core/action_choice.hpp"

namespace pgleak {

namespace {

// After server start, the rules are unknown at first, and with them the sessions they exempt, so limits act
// on nobody. This wait is bounded: a recorder that cannot read the rules must not protect a leak.
constexpr Micros kRulesTimeout = 60 * kSecond;

bool are_rules_missing(const SessionSnapshot& snapshot, const ScanInputs& inputs, Budgets* budgets,
                       Decision* decision) {
  if (inputs.rules_are_loaded) return false;
  if (!budgets->rules_wanted_since.is_set()) budgets->rules_wanted_since = snapshot.now.monotonic;
  if (snapshot.now.monotonic - budgets->rules_wanted_since < kRulesTimeout) return true;
  decision->warns_about_rules = !budgets->has_warned_about_rules;
  budgets->has_warned_about_rules = true;
  return false;
}

// The end of the pause after too many actions.
ActionHold hold_of_rate_limit(const Budgets& budgets, Now now) {
  return ActionHold{HoldReason::kRateLimit, Impact::kNone, 0,
                    now.wall + (budgets.rate.closed_until - now.monotonic)};
}

// The impact as far as actions may go by it.
Impact certain_impact(const SessionSnapshot& snapshot, const Ages& ages) {
  return ages.certain_blocking ? Impact::kBlocking : certain_grade(*snapshot.held);
}

// Returns what keeps limits from acting on the session, the most lasting reason first.
ActionHold find_hold(const SessionSnapshot& snapshot, const ScanInputs& inputs, Budgets* budgets,
                     Decision* decision) {
  ActionHold hold{};
  const Impact needed = snapshot.limits->own_min_impact.value_or(inputs.server_min_impact);
  if (snapshot.is_superuser && !inputs.act_on_superusers) {
    hold.reason = HoldReason::kSuperuser;
  } else if (snapshot.is_declared && !inputs.act_on_declared) {
    hold.reason = HoldReason::kDeclared;
  } else if (snapshot.wait == SessionWait::kSyncRep) {
    // Its transaction is committed here; a cancel would report it to the client before any standby has it.
    hold.reason = HoldReason::kStandby;
  } else if (snapshot.leaves_debris) {
    hold.reason = HoldReason::kDebris;
  } else if (snapshot.held->waits) {
    // A victim. The session at the root of the chain is the one to act on.
    hold.reason = HoldReason::kWaitsBehind;
    hold.root_pid = snapshot.held->root_pid;
  } else if (are_rules_missing(snapshot, inputs, budgets, decision)) {
    hold.reason = HoldReason::kRulesNotLoaded;
  } else if (decision->impact.impact < needed) {
    hold.reason = HoldReason::kImpact;
    hold.min_impact = needed;
  } else if (certain_impact(snapshot, decision->ages) < needed) {
    hold.reason = HoldReason::kGuess;
  } else if (inputs.dry_run) {
    hold.reason = HoldReason::kDryRun;
  } else if (budgets->rate.is_closed(inputs.max_actions_per_minute, snapshot.now.monotonic)) {
    hold = hold_of_rate_limit(*budgets, snapshot.now);
  }
  return hold;
}

void show_plan(const Plan& plan, const ActionHold& hold, Now now, Decision* decision) {
  decision->has_plan = true;
  decision->hold = hold;
  if (hold.reason != HoldReason::kNone) return;
  decision->next_action = plan.due != Action::kNone ? plan.due : plan.next;
  if (plan.due != Action::kNone)
    decision->next_action_at = now.wall;
  else if (plan.next != Action::kNone)
    decision->next_action_at = now.wall + plan.next_in;
}

// True if `action` is neither done already nor on hold.
bool may_try(const ActionState& state, Action action, const ScanInputs& inputs, Now now,
             Micros* next_due_in) {
  if (state.last != action) return true;
  if (state.result == ActionResult::kDryRun) return !inputs.dry_run;
  const Micros pause = state.retry_at - now.monotonic;
  if (pause <= Micros{0}) return true;
  *next_due_in = sooner(*next_due_in, pause);
  return false;
}

// The clock that demands the action; the idle clock if both do.
ActionReason reason_for(const Episode& episode, const Ages& ages, const Limits& limits, Action action) {
  const LimitKind kind = action == Action::kCancel ? LimitKind::kCancel : LimitKind::kTerminate;
  ActionReason reason{};
  reason.leak_id = episode.leak_id;
  for (int c = kClockCount - 1; c >= 0; c--) {
    const Clock clock = static_cast<Clock>(c);
    const Micros limit = limits.after(clock, kind);
    const std::optional<Micros> age = ages.of(clock);
    if (!age || limit == kNever || *age < limit) continue;
    if (!may_demand_action(clock, episode.is_session_level)) continue;
    reason.clock = clock;
    reason.lasted = *age;
    reason.limit = limit;
    reason.source.kind = limits.source[limit_index(clock, kind)];
    reason.source.rule_id = limits.rule_id;
  }
  return reason;
}

void begin(const SessionSnapshot& snapshot, Action action, const ActionReason& reason, bool is_dry,
           Decision* decision) {
  decision->step = is_dry ? Decision::ActionStep::kDryRun : Decision::ActionStep::kBegin;
  decision->action = action;
  decision->reason = reason;
  record_result(&decision->progress, action, is_dry ? ActionResult::kDryRun : ActionResult::kRequested,
                snapshot.now);
  decision->progress.action.source = reason.source;
  // Nothing wakes the scanner if the session does not answer, nor when a signal has its effect.
  if (!is_dry) decision->next_due_in = sooner(decision->next_due_in, kActionPollInterval);
}

bool demands_something(const Plan& plan) { return plan.due != Action::kNone || plan.next != Action::kNone; }

// True if limits would demand an action if the guess about those who wait were right.
bool may_be_demanded(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                     const Decision& decision) {
  const bool has_guess = decision.ages.blocking != decision.ages.certain_blocking;
  if (!has_guess && !snapshot.held->blocks_by_guess) return false;
  Micros ignored = kForever;
  const std::optional<Limits> limits = find_limits(snapshot, inputs, decision.ages, &ignored);
  return limits &&
         demands_something(plan_action(decision.ages, *limits, snapshot.status, episode.is_session_level));
}

// No limit acts because of a guess, neither one of the blocking clock nor one of a rule that is for sessions
// that block others: it may be wrong about who is to blame. Where some wait for certain, the clock counts
// only these.
void act_by_limits(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                   Budgets* budgets, Decision* decision) {
  if (!snapshot.limits) return;
  const Ages ages = decision->ages.without_guesses();
  const std::optional<Limits> limits = find_certain_limits(snapshot, inputs, ages, &decision->next_due_in);
  if (!limits) return;
  const Plan plan = plan_action(ages, *limits, snapshot.status, episode.is_session_level);
  ActionHold hold{};
  if (demands_something(plan))
    hold = find_hold(snapshot, inputs, budgets, decision);
  else if (may_be_demanded(snapshot, episode, inputs, *decision))
    hold.reason = HoldReason::kGuess;
  show_plan(plan, hold, snapshot.now, decision);
  decision->spares_exported = !inputs.act_on_declared;
  decision->next_due_in = sooner(decision->next_due_in, plan.next_due_in);
  if (plan.due == Action::kNone) return;
  // What holds an action off may change by itself; the next regular scan checks that.
  if (hold.reason != HoldReason::kNone && hold.reason != HoldReason::kDryRun) return;
  if (!may_try(episode.progress.action, plan.due, inputs, snapshot.now, &decision->next_due_in)) return;
  if (!budgets->actions.allows(snapshot.slot)) return;
  // A retry after no effect is paid by the first attempt, or it would use up the actions that other leaks
  // need. A dry run takes none.
  const ActionState& state = episode.progress.action;
  const bool is_paid = inputs.dry_run || (state.last == plan.due && had_no_effect(state.result));
  if (!is_paid) {
    const RateLimiter::Answer answer =
        budgets->rate.ask(inputs.max_actions_per_minute, snapshot.now.monotonic);
    decision->warns_about_rate = answer == RateLimiter::Answer::kNoAndSayIt;
    if (answer != RateLimiter::Answer::kYes) {
      show_plan(Plan{Action::kNone, Action::kNone, kForever, kForever},
                hold_of_rate_limit(*budgets, snapshot.now), snapshot.now, decision);
      decision->next_action = Action::kNone;
      return;
    }
  }
  begin(snapshot, plan.due, reason_for(episode, ages, *limits, plan.due), inputs.dry_run, decision);
}

void act_by_hand(const SessionSnapshot& snapshot, const Episode& episode, Decision* decision) {
  const ManualRequest& request = *snapshot.manual;
  if (snapshot.wait == SessionWait::kSyncRep) {
    decision->manual_answer = ActionResult::kStandby;
    return;
  }
  // A session-level episode outlives transactions; the request is about what the session is in now.
  const XactSeq xact_seq = episode.is_session_level ? current_seq(snapshot.status) : episode.xact_seq;
  // Outside of a transaction, there is nothing to cancel.
  const bool is_possible = request.action == Action::kTerminate || current_block(snapshot.status).exists;
  if (request.session != episode.session || request.xact_seq != xact_seq || !is_possible) {
    decision->manual_answer = ActionResult::kSkipped;
    return;
  }
  ActionReason reason{};
  reason.leak_id = episode.leak_id;
  reason.clock = clock_of(snapshot.status.state);
  reason.lasted = decision->ages.of(reason.clock).value_or(Micros{0});
  reason.source.kind = LimitSource::kManual;
  reason.source.encoding = request.encoding;
  for (int i = 0; i < kNameSize; i++) reason.source.by_login[i] = request.by_login[i];
  decision->is_manual = true;
  begin(snapshot, request.action, reason, false, decision);
}

}  // namespace

void choose_action(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                   Budgets* budgets, Decision* decision) {
  if (snapshot.manual)
    act_by_hand(snapshot, episode, decision);
  else
    act_by_limits(snapshot, episode, inputs, budgets, decision);
}

}  // namespace pgleak
