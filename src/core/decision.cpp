#include "core/decision.hpp"

#include "core/action_choice.hpp"
#include "core/running_action.hpp"

namespace pgleak {

namespace {

Decision nothing_to_do() {
  Decision decision{};
  decision.next_due_in = kForever;
  return decision;
}

// The clocks of the session after what was seen of it now.
SessionClocks observed_clocks(const SessionSnapshot& snapshot, const TransactionBlock& block) {
  SessionClocks clocks = snapshot.clocks;
  if (snapshot.is_present)
    observe_session(&clocks, snapshot.status, block, snapshot.waiters, snapshot.evidence,
                    waits_for_client(snapshot), snapshot.now.monotonic);
  return clocks;
}

bool keeps_others_waiting(const SessionSnapshot& snapshot, const TransactionBlock& block,
                          const SessionClocks& clocks) {
  return !clocks.blocking.is_over(holding_transaction(snapshot.status, block), snapshot.now.monotonic);
}

// The age that bounds the longest wait behind the session: that of what it holds.
std::optional<Micros> age_of_locks(const SessionClocks& clocks, const Ages& ages) {
  return clocks.blocking.is_session_level ? std::nullopt : ages.transaction;
}

ImpactSample measure_impact(const SessionSnapshot& snapshot, const SessionClocks& clocks, const Ages& ages) {
  ImpactSample impact = measure(*snapshot.held, snapshot.now.wall, age_of_locks(clocks, ages));
  // Waiters that come and go are between two attempts.
  if (ages.blocking) impact.impact = Impact::kBlocking;
  return impact;
}

// --- a session without an open episode ---

// Outside of a transaction, only a terminate makes sense.
bool is_meant(const ManualRequest& request, const SessionStatus& status, const TransactionBlock& block) {
  return request.session == status.id && (block.exists || request.action == Action::kTerminate) &&
         request.xact_seq == current_seq(status);
}

Decision consider(const SessionSnapshot& snapshot, const ScanInputs& inputs, Budgets* budgets) {
  Decision decision = nothing_to_do();
  const bool is_candidate = snapshot.is_present && snapshot.is_client_backend;
  const TransactionBlock block = is_candidate ? current_block(snapshot.status) : TransactionBlock{};
  // A request applies to one transaction of one session, not to the transactions after it.
  const bool is_manual =
      snapshot.manual && is_candidate && is_meant(*snapshot.manual, snapshot.status, block);
  if (snapshot.manual && !is_manual) decision.manual_answer = ActionResult::kSkipped;
  if (!is_candidate) return decision;

  SessionClocks clocks = observed_clocks(snapshot, block);
  const bool holds_something = block.exists || keeps_others_waiting(snapshot, block, clocks);
  if (!holds_something && !is_manual) return decision;
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
    decision.next_due_in = sooner(decision.next_due_in, decision.detection.next_due_in);
    if (!decision.detection.is_leak) return decision;
  }
  decision.needs_held = !snapshot.held;
  decision.needs_details = !snapshot.details;
  if (decision.needs_more() || (!is_manual && !budgets->records.allows(snapshot.slot))) return decision;
  decision.episode = Decision::EpisodeStep::kOpen;
  decision.block = block;
  decision.is_session_level =
      !block.exists || (decision.detection.clock == Clock::kBlocking && clocks.blocking.is_session_level);
  decision.impact = measure_impact(snapshot, clocks, decision.ages);
  decision.decide_again = true;  // an action may be due immediately
  return decision;
}

// --- a session with an open episode ---

// `clocks` have noted whether others wait now.
Outcome judge(const SessionSnapshot& snapshot, const Episode& episode, const TransactionBlock& block,
              const SessionClocks& clocks) {
  const BackendTrace trace{snapshot.is_present, snapshot.last_state, snapshot.status,
                           keeps_others_waiting(snapshot, block, clocks)};
  return judge_open(episode, trace, snapshot.watched_end);
}

// A session that others no longer wait behind is still the session that was judged.
bool is_pause(const Episode& episode, Outcome outcome) {
  return outcome == Outcome::kReleased && episode.is_session_level;
}

// True if an action under way comes too late.
bool has_ended(const Episode& episode, Outcome outcome) {
  return outcome != Outcome::kNone && !is_pause(episode, outcome);
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
  // An action may take longer than waiters may pause.
  const TransactionBlock block = current_block(snapshot.status);
  SessionClocks& clocks = decision.clocks.emplace(snapshot.clocks);
  if (snapshot.is_present)
    observe_waiters(&clocks, snapshot.status, block, snapshot.waiters, snapshot.now.monotonic);
  ActionResult result = check_action(snapshot, &decision.step);
  // It has accepted the action, but the transaction that was judged is over: SIGTERM might hit the next one.
  // Unless the session is exiting already, the action came too late.
  if (decision.step == Decision::ActionStep::kTerminate && snapshot.reply == Reply::kActing &&
      has_ended(episode, judge(snapshot, episode, block, clocks))) {
    decision.step = Decision::ActionStep::kNone;
    if (snapshot.watched_end != TransactionEnd::kDisconnected) result = ActionResult::kSkipped;
  }
  if (result != ActionResult::kRequested) {
    decision.episode = Decision::EpisodeStep::kKeep;
    decision.finished = result;
    decision.progress = episode.progress;
    record_result(&decision.progress, decision.action, result, snapshot.now);
    // What it has accepted may still take effect.
    if (decision.action == Action::kTerminate && snapshot.reply == Reply::kActing)
      decision.progress.terminate_sent = true;
    clocks.stall.disregard_next();
    decision.decide_again = true;
    return decision;
  }
  decision.next_due_in = sooner(decision.next_due_in, kActionPollInterval);
  // While the session rolls back in place or exits, its visible state is our own doing.
  const bool is_acting =
      snapshot.is_present && (snapshot.reply == Reply::kActing || snapshot.action.has_sigterm);
  const Outcome outcome = is_acting ? Outcome::kNone : judge(snapshot, episode, block, clocks);
  if (has_ended(episode, outcome)) close_episode(snapshot, outcome, budgets, &decision);
  return decision;
}

void update_progress(const SessionSnapshot& snapshot, Decision* decision) {
  EpisodeProgress& progress = decision->progress;
  const SessionStatus& status = snapshot.status;
  const std::optional<Micros> idle = decision->ages.idle;
  progress.last_state = status.state;
  if (snapshot.client_gone) progress.client_gone = snapshot.client_gone;
  if (status.state == SessionState::kIdleInTransactionAborted && !status.xact_start.is_set())
    progress.aborted_since = status.state_start;
  if (idle && (!progress.longest_idle || *idle > *progress.longest_idle)) progress.longest_idle = idle;
  if (decision->ages.transaction) progress.transaction_age = decision->ages.transaction;
  // A rollback does not free session-level locks.
  ActionState& action = progress.action;
  const bool is_cancelled = action.last == Action::kCancel && action.result == ActionResult::kDone;
  action.still_blocks = is_cancelled ? decision->impact.blocked : 0;
  decision->has_left_locks = action.still_blocks > 0 && !action.has_logged_blocks;
  action.has_logged_blocks |= decision->has_left_locks;
  decision->has_begun_to_block = decision->impact.blocked > 0 && progress.worst.blocked == 0;
  progress.worst = worst_of(progress.worst, decision->impact);
}

Decision follow(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                Budgets* budgets) {
  Decision decision = nothing_to_do();
  const TransactionBlock block = current_block(snapshot.status);
  SessionClocks clocks = observed_clocks(snapshot, block);
  const Outcome outcome = judge(snapshot, episode, block, clocks);
  // A request by hand needs no impact.
  if (outcome != Outcome::kNone && !(is_pause(episode, outcome) && snapshot.manual)) {
    close_episode(snapshot, outcome, budgets, &decision);
    return decision;
  }
  decision.needs_held = !snapshot.held;
  if (decision.needs_held) return decision;

  // Our own rollback gave the session a new state, but its client is as silent as before.
  if (episode.progress.is_cancelled && snapshot.status.state_start == snapshot.aborted_at)
    clocks.idle.carry_over(snapshot.status.state_start);
  decision.ages = measure_ages(&clocks, snapshot.status, block, snapshot.now, inputs.previous);
  decision.episode = Decision::EpisodeStep::kKeep;
  decision.clocks = clocks;
  decision.has_impact = true;
  decision.waits_for_lock = snapshot.held->waits;
  decision.impact = measure_impact(snapshot, clocks, decision.ages);
  decision.progress = episode.progress;
  update_progress(snapshot, &decision);
  choose_action(snapshot, episode, inputs, budgets, &decision);
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
