#include "core/decision.hpp"

namespace pgleak {

namespace {

// How long a session may take to confirm that it ends its connection before it gets SIGTERM.
constexpr Micros kGracePeriod = 2 * kSecond;

// How long a session may take to react to a cancel. One that waits for its client in the middle of a command
// does not react at all; any other does at its next check for interrupts.
constexpr Micros kClientWaitTimeout = kSecond;
constexpr Micros kEffectTimeout = 10 * kSecond;

// After server start, the rules are unknown at first, and with them the sessions they exempt, so limits act
// on nobody. This wait is bounded: a recorder that cannot read the rules must not protect a leak.
constexpr Micros kRulesTimeout = 60 * kSecond;

void lower(Micros* bound, Micros value) {
  if (value < *bound) *bound = value;
}

Decision nothing_to_do() {
  Decision decision{};
  decision.next_due_in = kForever;
  return decision;
}

// The limits of the session; nothing if they depend on its impact and the snapshot does not have that yet.
std::optional<Limits> find_limits(const SessionSnapshot& snapshot, const ScanInputs& inputs, const Ages& ages,
                                  Micros* next_due_in) {
  const LimitFacts& facts = *snapshot.limits;
  const RuleSet& rules = *inputs.rules;
  if (rules.count == 0) return resolve_limits(facts.own, nullptr, inputs.server_limits);

  if (facts.matches_until != kEndOfTime) lower(next_due_in, facts.matches_until - snapshot.now.wall);
  Impact impact = Impact::kNone;
  if (depends_on_impact(rules, facts.matches) &&
      may_be_leak(rules, facts.matches, facts.own, inputs.server_limits, ages, next_due_in)) {
    if (!snapshot.held) return std::nullopt;
    impact = grade(*snapshot.held);
  }
  return choose_limits(rules, facts.matches, facts.own, inputs.server_limits, impact);
}

// --- a session without an open episode ---

bool is_meant(const ManualRequest& request, const SessionStatus& status, const TransactionBlock& block) {
  return request.session == status.id && block.exists && request.xact_seq == block.xact_seq;
}

Clock clock_of(SessionState state) {
  return is_idle_in_transaction(state) ? Clock::kIdle : Clock::kTransaction;
}

Decision consider(const SessionSnapshot& snapshot, const ScanInputs& inputs, Budgets* budgets) {
  Decision decision = nothing_to_do();
  const bool is_candidate = snapshot.is_present && snapshot.is_client_backend;
  const TransactionBlock block = is_candidate ? current_block(snapshot.status) : TransactionBlock{};
  // A request applies to one transaction of one session, not to the transactions after it.
  const bool is_manual =
      snapshot.manual && is_candidate && is_meant(*snapshot.manual, snapshot.status, block);
  if (snapshot.manual && !is_manual) decision.manual_answer = ActionResult::kSkipped;
  if (!block.exists) return decision;

  SessionClocks clocks = snapshot.clocks;
  decision.ages = measure_ages(&clocks, snapshot.status, block, snapshot.now, inputs.previous);
  decision.clocks = clocks;
  if (is_manual) {
    const Clock clock = clock_of(snapshot.status.state);
    decision.detection = Detection{
        true, clock, decision.ages.of(clock).value_or(Micros{0}), kNever, LimitSource::kManual, 0, kForever};
  } else {
    if (!snapshot.limits) return decision;
    const std::optional<Limits> limits = find_limits(snapshot, inputs, decision.ages, &decision.next_due_in);
    decision.needs_held = !limits;
    if (!limits) return decision;
    decision.detection = detect_leak(decision.ages, *limits);
    lower(&decision.next_due_in, decision.detection.next_due_in);
    if (!decision.detection.is_leak) return decision;
  }
  decision.needs_held = !snapshot.held;
  decision.needs_details = !snapshot.details;
  if (decision.needs_more() || (!is_manual && !budgets->records.allows(snapshot.slot))) return decision;
  decision.episode = Decision::EpisodeStep::kOpen;
  decision.block = block;
  decision.impact = measure(*snapshot.held, snapshot.now.wall, decision.ages.transaction);
  decision.decide_again = true;  // an action may be due immediately
  return decision;
}

// --- a session with an open episode ---

// The state of the running action; kRequested while it is not finished.
ActionResult check_cancel(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  switch (next_step(snapshot.action.handshake, snapshot.reply, snapshot.wait == SessionWait::kClientRead,
                    snapshot.now.monotonic)) {
    case Step::kWait:
      return ActionResult::kRequested;
    case Step::kSend:
      *step = Decision::ActionStep::kSend;
      return ActionResult::kRequested;
    case Step::kDone:
      return ActionResult::kDone;
    case Step::kRefused:
      return ActionResult::kSkipped;
    case Step::kGiveUp:
      return ActionResult::kUnsafe;
  }
  return ActionResult::kRequested;
}

// One message is enough. A session that does not reply in time, because it is stopped or does not read, gets
// SIGTERM.
ActionResult check_terminate(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  if (snapshot.reply == Reply::kDone) return ActionResult::kDone;
  if (snapshot.reply == Reply::kRefused) return ActionResult::kSkipped;
  if (snapshot.now.monotonic - snapshot.action.started_at >= kGracePeriod)
    *step = Decision::ActionStep::kTerminate;
  return ActionResult::kRequested;
}

// The signal is answered by the target's handler; done is what has had its effect: the block or the query has
// ended.
ActionResult check_signal(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  const RunningAction& action = snapshot.action;
  const Micros elapsed = snapshot.now.monotonic - action.started_at;
  // kActing: accepted, and not seen to have an effect yet. kDone: it has rolled the transaction back.
  const bool has_accepted = snapshot.reply == Reply::kActing || snapshot.reply == Reply::kDone;
  if (snapshot.reply == Reply::kRefused) return ActionResult::kSkipped;
  // A transaction that committed after all was not cancelled, even if its session has left since.
  const bool has_committed =
      snapshot.watched_end == TransactionEnd::kCommitted || snapshot.watched_end == TransactionEnd::kPrepared;
  if (action.action == Action::kCancel && has_committed) return ActionResult::kSkipped;
  if (!snapshot.is_present) {
    const bool is_seen =
        snapshot.reply == Reply::kDone || (has_accepted && action.action == Action::kTerminate);
    return is_seen ? ActionResult::kDone : ActionResult::kSkipped;
  }
  if (action.action == Action::kTerminate) {
    if (elapsed >= kGracePeriod) *step = Decision::ActionStep::kTerminate;
    return ActionResult::kRequested;
  }
  // The client may have rolled it back itself.
  if (snapshot.watched_end != TransactionEnd::kNone)
    return snapshot.reply == Reply::kDone ? ActionResult::kDone : ActionResult::kSkipped;
  if (snapshot.status.state_start != action.state_start)
    return has_accepted ? ActionResult::kDone : ActionResult::kSkipped;
  const bool waits_for_client =
      snapshot.wait == SessionWait::kClientRead || snapshot.wait == SessionWait::kClientWrite;
  if (waits_for_client && elapsed >= kClientWaitTimeout) return ActionResult::kNoEffectOnClientWait;
  return elapsed >= kEffectTimeout ? ActionResult::kNoEffect : ActionResult::kRequested;
}

ActionResult check_action(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  if (snapshot.action.is_signal) return check_signal(snapshot, step);
  return snapshot.action.action == Action::kCancel ? check_cancel(snapshot, step)
                                                   : check_terminate(snapshot, step);
}

Outcome judge(const SessionSnapshot& snapshot, const Episode& episode) {
  const BackendTrace trace{snapshot.is_present, snapshot.last_state, snapshot.status};
  return judge_open(episode, trace, snapshot.watched_end);
}

void close_episode(const SessionSnapshot& snapshot, Outcome outcome, Budgets* budgets, Decision* decision) {
  decision->step = Decision::ActionStep::kNone;
  if (!budgets->records.allows(snapshot.slot)) return;
  decision->episode = Decision::EpisodeStep::kClose;
  decision->outcome = outcome;
  decision->decide_again = true;  // the session may already be in its next transaction
}

Decision follow_action(const SessionSnapshot& snapshot, const Episode& episode, Budgets* budgets) {
  Decision decision = nothing_to_do();
  decision.action = snapshot.action.action;
  ActionResult result = check_action(snapshot, &decision.step);
  // It is on its way out, but the transaction that was judged is over: a second signal might hit the next
  // one.
  if (decision.step == Decision::ActionStep::kTerminate && snapshot.reply == Reply::kActing &&
      judge(snapshot, episode) != Outcome::kNone) {
    decision.step = Decision::ActionStep::kNone;
    result = ActionResult::kSkipped;
  }
  if (result != ActionResult::kRequested) {
    decision.episode = Decision::EpisodeStep::kKeep;
    decision.finished = result;
    decision.progress = episode.progress;
    record_result(&decision.progress, decision.action, result, snapshot.now);
    decision.decide_again = true;
    return decision;
  }
  lower(&decision.next_due_in, kActionPollInterval);
  // While the session rolls back in place, its visible state is our own doing.
  const bool is_acting = snapshot.reply == Reply::kActing && snapshot.is_present;
  const Outcome outcome = is_acting ? Outcome::kNone : judge(snapshot, episode);
  if (outcome != Outcome::kNone) close_episode(snapshot, outcome, budgets, &decision);
  return decision;
}

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

// What keeps limits from acting on the session, the most lasting reason first.
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
  lower(next_due_in, pause);
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
  if (!is_dry) lower(&decision->next_due_in, kActionPollInterval);
}

void act_by_limits(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                   Budgets* budgets, Decision* decision) {
  if (!snapshot.limits) return;
  const std::optional<Limits> limits = find_limits(snapshot, inputs, decision->ages, &decision->next_due_in);
  if (!limits) return;
  const Plan plan = plan_action(decision->ages, *limits, snapshot.status);
  const bool has_plan = plan.due != Action::kNone || plan.next != Action::kNone;
  const ActionHold hold = has_plan ? find_hold(snapshot, inputs, budgets, decision) : ActionHold{};
  show_plan(plan, hold, snapshot.now, decision);
  decision->spares_exported = !inputs.act_on_declared;
  lower(&decision->next_due_in, plan.next_in);
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
      show_plan(Plan{Action::kNone, Action::kNone, kForever}, hold_of_rate_limit(*budgets, snapshot.now),
                snapshot.now, decision);
      decision->next_action = Action::kNone;
      return;
    }
  }
  begin(snapshot, plan.due, reason_for(episode, decision->ages, *limits, plan.due), inputs.dry_run, decision);
}

void act_by_hand(const SessionSnapshot& snapshot, const Episode& episode, Decision* decision) {
  const ManualRequest& request = *snapshot.manual;
  if (snapshot.wait == SessionWait::kSyncRep) {
    decision->manual_answer = ActionResult::kStandby;
    return;
  }
  if (request.session != episode.session || request.xact_seq != episode.xact_seq) {
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

void update_progress(const SessionSnapshot& snapshot, Decision* decision) {
  EpisodeProgress& progress = decision->progress;
  const SessionStatus& status = snapshot.status;
  const std::optional<Micros> idle = decision->ages.idle;
  progress.last_state = status.state;
  if (status.state == SessionState::kIdleInTransactionAborted && !status.xact_start.is_set())
    progress.aborted_since = status.state_start;
  if (idle && (!progress.longest_idle || *idle > *progress.longest_idle)) progress.longest_idle = idle;
  if (decision->ages.transaction) progress.transaction_age = decision->ages.transaction;
  // A rollback does not free session-level locks.
  ActionState& action = progress.action;
  const bool is_cancelled = action.last == Action::kCancel && action.result == ActionResult::kDone;
  decision->has_left_locks = is_cancelled && decision->impact.blocked > 0 && action.still_blocks == 0;
  action.still_blocks = is_cancelled ? decision->impact.blocked : 0;
  decision->has_begun_to_block = decision->impact.blocked > 0 && progress.worst.blocked == 0;
  progress.worst = worst_of(progress.worst, decision->impact);
}

Decision follow(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                Budgets* budgets) {
  Decision decision = nothing_to_do();
  const Outcome outcome = judge(snapshot, episode);
  if (outcome != Outcome::kNone) {
    close_episode(snapshot, outcome, budgets, &decision);
    return decision;
  }
  decision.needs_held = !snapshot.held;
  if (decision.needs_held) return decision;

  SessionClocks clocks = snapshot.clocks;
  // Our own rollback gave the session a new state, but its client is as silent as before.
  if (episode.progress.is_cancelled && snapshot.status.state_start == snapshot.aborted_at)
    clocks.idle.carry_over(snapshot.status.state_start);
  decision.ages =
      measure_ages(&clocks, snapshot.status, current_block(snapshot.status), snapshot.now, inputs.previous);
  decision.episode = Decision::EpisodeStep::kKeep;
  decision.clocks = clocks;
  decision.has_impact = true;
  decision.impact = measure(*snapshot.held, snapshot.now.wall, decision.ages.transaction);
  decision.progress = episode.progress;
  update_progress(snapshot, &decision);
  if (snapshot.manual)
    act_by_hand(snapshot, episode, &decision);
  else
    act_by_limits(snapshot, episode, inputs, budgets, &decision);
  return decision;
}

}  // namespace

Decision decide(const SessionSnapshot& snapshot, const Episode* open, const ScanInputs& inputs,
                Budgets* budgets) {
  if (open == nullptr) return consider(snapshot, inputs, budgets);
  if (snapshot.action.action != Action::kNone) return follow_action(snapshot, *open, budgets);
  return follow(snapshot, *open, inputs, budgets);
}

}  // namespace pgleak
