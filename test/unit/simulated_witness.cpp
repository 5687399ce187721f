#include "simulated_witness.hpp"

#include <algorithm>

namespace pgleak {

namespace {

using EpisodeStep = Decision::EpisodeStep;
using ActionStep = Decision::ActionStep;

// Between two waiters, a session blocks others all the same.
Impact impact_of(const HeldResources& held, const Ages& ages) {
  return ages.blocking ? Impact::kBlocking : grade(held);
}

Limits limits_of(const SessionSnapshot& snapshot, const ScanInputs& inputs, const Ages& ages) {
  const LimitFacts& facts = *snapshot.limits;
  return choose_limits(*inputs.rules, facts.matches, facts.own, inputs.server_limits,
                       impact_of(*snapshot.held, ages));
}

bool shows_same_idle(const SimulatedSession& session, const SessionStatus& status) {
  return session.entry.id == status.id && session.entry.state_start == status.state_start;
}

bool shows_same_transaction(const SimulatedSession& session, const SessionStatus& status) {
  return session.entry.id == status.id && session.is_in_block() &&
         session.xact_seq() == current_block(status).xact_seq;
}

// The longest that `clock` may show at `now` by rights; nothing if the session has gone on since.
std::optional<Micros> longest_age(const SimulatedSession& session, const SessionStatus& status, Clock clock,
                                  MonotonicTime now) {
  if (clock == Clock::kBlocking) return std::nullopt;
  if (clock == Clock::kIdle && !is_idle_in_transaction(status.state)) return std::nullopt;
  if (!shows_same_transaction(session, status)) return std::nullopt;
  if (clock == Clock::kIdle && !shows_same_idle(session, status)) return std::nullopt;
  const TrueClock& true_clock = clock == Clock::kIdle ? session.idle : session.open;
  if (!true_clock.is_seen) return std::nullopt;
  return true_clock.upper_bound(now);
}

}  // namespace

void Witness::expect(bool holds, const char* promise) {
  if (!holds && first_violation_.empty())
    first_violation_ = std::string(promise) + ", after " +
                       std::to_string((machine_.time.monotonic() - born_).us) + " us of the life";
}

void Witness::scan_begins(int slot, const SimulatedSession& session) {
  scan_now_ = machine_.time.monotonic();
  Books& books = books_[slot];
  if (books.changes != session.changes) books.promised = MonotonicTime::none();
  books.changes = session.changes;
  books.was_busy = false;
  books.longest_wait = session.waits.run_length(scan_now_);
  books.is_for_session = session.waits.is_for_session;
  books.next_promise = MonotonicTime::none();
}

void Witness::decided_twice(const Decision& a, const Decision& b) {
  expect(a.needs_held == b.needs_held && a.needs_details == b.needs_details && a.episode == b.episode &&
             a.step == b.step && a.action == b.action && a.outcome == b.outcome &&
             a.next_due_in == b.next_due_in && a.decide_again == b.decide_again && a.finished == b.finished &&
             a.ages.idle == b.ages.idle && a.ages.transaction == b.ages.transaction &&
             a.manual_answer == b.manual_answer && a.warns_about_rate == b.warns_about_rate &&
             a.warns_about_rules == b.warns_about_rules,
         "the same snapshot twice is the same decision");
}

void Witness::asked_for_more(const SessionSnapshot& snapshot, const Decision& decision) {
  expect(!(decision.needs_held && snapshot.held) && !(decision.needs_details && snapshot.details),
         "a decision asks only for what it has not got");
}

void Witness::asked_for_nothing_more(const Decision& decision) {
  expect(!decision.needs_more(), "what a decision asks for is enough");
}

void Witness::decided(int slot, SimulatedSession* session, const SessionSnapshot& snapshot,
                      const Episode* open, const ScanInputs& inputs, const Decision& decision) {
  Books& books = books_[slot];
  if (session->changes != books.changes) books.promised = MonotonicTime::none();
  books.was_busy |= snapshot.manual.has_value() || decision.step == ActionStep::kSend ||
                    decision.step == ActionStep::kTerminate;
  note_sighting(&books, snapshot, decision);
  check_clocks(&books, session, snapshot, inputs, decision);
  if (decision.warns_about_rules) coverage_.add("warns about rules");
  if (decision.warns_about_rules) rules_warnings_++;
  expect(rules_warnings_ <= 1, "limits that act without the rules are warned about once");

  expect((decision.episode == EpisodeStep::kOpen) <= (open == nullptr), "only what is not open opens");
  const bool is_followed = decision.episode == EpisodeStep::kKeep || decision.episode == EpisodeStep::kClose;
  expect(is_followed <= (open != nullptr), "only what is open is kept or closed");
  if (decision.episode == EpisodeStep::kOpen) check_opening(books, *session, snapshot, inputs, decision);
  if (decision.episode == EpisodeStep::kKeep && open != nullptr) check_progress(*open, decision);
  check_step(*session, snapshot, open, inputs, decision);
  if (decision.hold.reason != HoldReason::kNone) {
    char hold[kHoldSize];
    describe_hold(decision.hold, hold);
    coverage_.add(std::string("held: ") + hold);
    expect(decision.next_action == Action::kNone, "what is held off is not announced");
  }
  if (decision.manual_answer) coverage_.add("refuses a request");
  expect(decision.manual_answer.has_value() <= snapshot.manual.has_value(), "only a request is refused");
  if (decision.finished && open != nullptr) check_finished(*session, snapshot, *open, *decision.finished);
  books.next_promise = MonotonicTime::none();
  // An action under way asks for the next scan itself.
  if (decision.decide_again || session->changes != books.changes || snapshot.action.action != Action::kNone)
    return;
  // While an episode on a session-level lock is open, its transactions open none.
  if (open != nullptr && open->is_session_level) return;
  books.next_promise = decision.next_due_in == kForever ? MonotonicTime{INT64_MAX}
                                                        : snapshot.now.monotonic + decision.next_due_in;
}

void Witness::check_clocks(Books* books, SimulatedSession* session, const SessionSnapshot& snapshot,
                           const ScanInputs& inputs, const Decision& decision) {
  if (!decision.clocks || snapshot.action.action != Action::kNone) return;
  const SessionStatus& status = snapshot.status;
  check_holder(*books, *session, snapshot, decision);
  if (is_idle_in_transaction(status.state))
    check_pace(&books->idle, snapshot, status.state_start, 0, decision.ages.idle);
  check_pace(&books->transaction, snapshot, current_block(status).xact_start, current_block(status).xact_seq,
             decision.ages.transaction);
  if (!shows_same_transaction(*session, status)) return;
  if (decision.ages.transaction)
    session->open.see(snapshot.now, machine_.clock_changes, inputs.previous.at_transaction);
  if (is_idle_in_transaction(status.state) && shows_same_idle(*session, status))
    session->idle.see(snapshot.now, machine_.clock_changes, inputs.previous.at_idle);
}

void Witness::check_pace(Measured* measured, const SessionSnapshot& snapshot, WallTime started_at,
                         XactSeq xact_seq, std::optional<Micros> age) {
  if (!age) return;
  expect(*age >= Micros{0}, "no age is negative");
  if (measured->started_at == started_at && measured->xact_seq == xact_seq &&
      measured->session == snapshot.status.id)
    expect(*age - measured->age == snapshot.now.monotonic - measured->at,
           "a clock that has begun to run goes on at the "
           "pace of the machine");
  *measured = Measured{started_at, xact_seq, snapshot.status.id, snapshot.now.monotonic, *age};
}

void Witness::check_opening(const Books& books, const SimulatedSession& session,
                            const SessionSnapshot& snapshot, const ScanInputs& inputs,
                            const Decision& decision) {
  const Detection& detection = decision.detection;
  const TransactionBlock block = current_block(snapshot.status);
  expect(snapshot.is_present && snapshot.is_client_backend && (block.exists || decision.is_session_level),
         "only a client that is in a transaction block, or that others wait behind, leaks");
  expect(snapshot.held && snapshot.details, "what the episode shows has been read");
  expect(decision.block.xact_seq == block.xact_seq, "the block that was read opens");
  coverage_.add(detection.source == LimitSource::kManual
                    ? "opens by hand"
                    : std::string("opens by the ") + to_string(detection.clock) + " clock");
  if (decision.is_session_level)
    coverage_.add(detection.source == LimitSource::kManual ? "opens by hand outside of a transaction"
                  : block.exists                           ? "opens session-level in a keepalive"
                  : detection.clock == Clock::kIdle        ? "opens an idle holder by its idle clock"
                                                           : "opens an idle holder by its blocking clock");
  if (detection.source != LimitSource::kManual && detection.clock == Clock::kIdle && block.exists &&
      !is_idle_in_transaction(snapshot.status.state))
    coverage_.add(snapshot.status.state == SessionState::kIdle ? "opens stuck in notifications"
                                                               : "opens stalled in a command");
  if (detection.source == LimitSource::kManual) {
    expect(snapshot.manual && snapshot.manual->session == snapshot.status.id &&
               snapshot.manual->xact_seq == current_seq(snapshot.status),
           "by hand only the transaction that was meant "
           "opens");
    return;
  }
  const Limits limits = limits_of(snapshot, inputs, decision.ages);
  if (decision.is_session_level)
    expect(books.is_for_session, "only what others wait for outside of a transaction is session-level");
  expect(detection.limit == limits.after(detection.clock, LimitKind::kLeak), "the limit is that in force");
  expect(detection.age >= detection.limit, "no leak is younger than its limit");
  const std::optional<Micros> longest =
      longest_age(session, snapshot.status, detection.clock, snapshot.now.monotonic);
  expect(!longest || *longest >= detection.limit, "no leak opens before its limit has really passed");
  // What rules demand may change with the impact, at any
  // moment.
  // What rules demand may change with the impact, at any moment. A wait that turns out to be for the
  // session's own lock, and not for that of a transaction that has ended, is as old as it is.
  const bool depends_on_waiters = detection.clock == Clock::kBlocking || !block.exists;
  if (inputs.rules->count > 0 || depends_on_waiters || !books.promised.is_set()) return;
  // A stalled session's age grows when its evidence is read.
  const bool is_stalled = detection.clock == Clock::kIdle && !is_idle_in_transaction(snapshot.status.state);
  const MonotonicTime due_at = snapshot.now.monotonic - (detection.age - detection.limit);
  expect(due_at + (is_stalled ? StallWatch::kEvidenceInterval : Micros{0}) >= books.promised,
         "the next scan is asked for before a leak becomes due");
}

// What the scanner calls done is compared with what really happened, at that moment or before.
void Witness::check_finished(SimulatedSession& session, const SessionSnapshot& snapshot, const Episode& open,
                             ActionResult result) {
  if (!snapshot.action.is_signal || result != ActionResult::kDone) return;
  const TrueTransaction& truth = session.transaction(open.xact_seq);
  const bool is_there = session.entry.id == open.session && session.is_running();
  if (open.is_session_level) {
    if (snapshot.action.action == Action::kCancel) coverage_.add("cancels by hand what a holder runs");
    expect(snapshot.action.action == Action::kCancel || !is_there,
           "a terminate is done when its backend is gone");
    return;
  }
  if (snapshot.action.action == Action::kTerminate) {
    expect((truth.has_accepted_terminate || truth.is_terminated) && !is_there,
           "a terminate is done when its backend is gone");
    return;
  }
  expect(truth.has_accepted_cancel, "a cancel that is done was accepted by its target");
  expect(!is_there || session.entry.state_start != snapshot.action.state_start,
         "a cancel is done when its query has ended");
  expect(
      snapshot.watched_end != TransactionEnd::kCommitted && snapshot.watched_end != TransactionEnd::kPrepared,
      "what has committed is never called cancelled");
}

void Witness::check_progress(const Episode& open, const Decision& decision) {
  const EpisodeProgress& before = open.progress;
  const EpisodeProgress& after = decision.progress;
  expect(!(after.longest_idle < before.longest_idle),
         "the longest idle time of an episode never "
         "shrinks");
  // One on a session-level lock outlives transactions.
  expect(open.is_session_level || !(after.transaction_age < before.transaction_age),
         "an episode never grows younger");
  expect(after.worst.impact >= before.worst.impact && after.worst.blocked >= before.worst.blocked,
         "the worst impact of an episode never improves");
  expect(after.is_cancelled >= before.is_cancelled && after.terminate_sent >= before.terminate_sent,
         "what was done to an episode is not forgotten");
}

void Witness::check_step(const SimulatedSession& session, const SessionSnapshot& snapshot,
                         const Episode* open, const ScanInputs& inputs, const Decision& decision) {
  const bool begins = decision.step == ActionStep::kBegin || decision.step == ActionStep::kDryRun;
  if (decision.warns_about_rate) {
    coverage_.add("warns about the rate");
    const MonotonicTime minute_ago = snapshot.now.monotonic - kMinute;
    expect(std::count_if(limit_actions_.begin(), limit_actions_.end(),
                         [minute_ago](MonotonicTime at) { return at >= minute_ago; }) >=
               inputs.max_actions_per_minute,
           "the rate is warned about when it is reached");
    expect(!warned_about_rate_.is_set() || machine_.time.monotonic() - warned_about_rate_ >= kMinute,
           "the rate is warned about once");
    warned_about_rate_ = snapshot.now.monotonic;
  }
  if (decision.step == ActionStep::kNone) return;
  expect(open != nullptr && decision.episode != EpisodeStep::kClose, "only an open episode is acted on");
  if (open == nullptr) return;
  const TransactionBlock block = current_block(snapshot.status);
  const bool is_same = open->is_session_level || (block.exists && block.xact_seq == open->xact_seq);
  expect(snapshot.is_present && snapshot.status.id == open->session && is_same,
         "nothing is done to a session that moved on");
  if (!begins) return;
  expect(decision.episode == EpisodeStep::kKeep, "an action that begins is written down");
  expect(snapshot.action.action == Action::kNone, "one action at a time");
  expect(snapshot.wait != SessionWait::kSyncRep, "a session that waits for a standby is never touched");
  if (decision.is_manual) {
    expect(snapshot.manual && decision.action == snapshot.manual->action &&
               snapshot.manual->session == open->session &&
               snapshot.manual->xact_seq == current_seq(snapshot.status) &&
               decision.step == ActionStep::kBegin,
           "a request does what was asked to the "
           "transaction that was meant");
    coverage_.add("acts by hand");
    if (!block.exists) coverage_.add("acts by hand outside of a transaction");
    expect(block.exists || decision.action == Action::kTerminate,
           "nothing is cancelled outside of a transaction");
  } else {
    check_limit_action(session, snapshot, *open, inputs, decision);
  }
}

void Witness::check_limit_action(const SimulatedSession& session, const SessionSnapshot& snapshot,
                                 const Episode& open, const ScanInputs& inputs, const Decision& decision) {
  const MonotonicTime now = snapshot.now.monotonic;
  coverage_.add(decision.step == ActionStep::kDryRun ? "dry run"
                                                     : std::string("acts: ") + to_string(decision.action));
  expect((decision.step == ActionStep::kDryRun) == inputs.dry_run, "a dry run does nothing");
  expect(!session.is_superuser || inputs.act_on_superusers || !shows_same_idle(session, snapshot.status),
         "limits leave superusers alone");
  expect(!snapshot.is_declared || inputs.act_on_declared, "limits leave declared sessions alone");
  expect(!snapshot.held->waits, "limits spare the victims");
  expect(inputs.rules_are_loaded || (now - born_ >= kMinute && rules_warnings_ == 1),
         "limits wait a minute for the rules, and say so "
         "when they act without");
  expect(impact_of(*snapshot.held, decision.ages) >=
             snapshot.limits->own_min_impact.value_or(inputs.server_min_impact),
         "limits act on nothing that hurts less than it "
         "must");
  const LimitKind kind = decision.action == Action::kCancel ? LimitKind::kCancel : LimitKind::kTerminate;
  const Limits limits = limits_of(snapshot, inputs, decision.ages);
  const ActionReason& reason = decision.reason;
  expect(reason.leak_id == open.leak_id && reason.limit == limits.after(reason.clock, kind) &&
             reason.limit != kNever && reason.lasted >= reason.limit,
         "the reason of an action is true");
  const std::optional<Micros> longest = longest_age(session, snapshot.status, reason.clock, now);
  expect(!longest || *longest >= reason.limit,
         "no action comes before its limit has really "
         "passed");
  coverage_.add(std::string("acts by the ") + to_string(reason.clock) + " clock");
  if (open.is_session_level) {
    coverage_.add("acts on a session-level lock");
    expect(decision.action == Action::kTerminate, "a session-level episode is never cancelled");
    expect(reason.clock == Clock::kBlocking, "only the blocking clock acts on a session-level episode");
  }
  expect(decision.action == Action::kTerminate || snapshot.status.state != SessionState::kIdle,
         "what only delivers notifications is not cancelled");
  expect(decision.action == Action::kTerminate || snapshot.status.xact_start.is_set(),
         "what is rolled back already is not cancelled");
  const ActionState& last = open.progress.action;
  if (last.last == decision.action && last.result != ActionResult::kDryRun)
    expect(now >= last.retry_at, "an action is repeated after its pause");
  expect(last.last != decision.action || last.result != ActionResult::kDryRun || !inputs.dry_run,
         "a dry run is told once");
  NoEffects& vain = no_effects_[{open.leak_id, decision.action}];
  if (vain.in_a_row > 0) {
    const Micros pause = vain.in_a_row > 6 ? kMinute : kSecond * (1 << (vain.in_a_row - 1));
    expect(now - vain.last >= std::min(pause, kMinute), "what had no effect rests from 1 s to 1 min");
    coverage_.add("tries again after no effect");
  }
  if (vain.in_a_row == 0 && !inputs.dry_run) check_rate(now, inputs.max_actions_per_minute);
  if (inputs.dry_run)
    for (const Action action : {Action::kCancel, Action::kTerminate})
      no_effects_.erase({open.leak_id, action});
}

void Witness::check_rate(MonotonicTime now, std::int32_t most) {
  // Within one scan, a session may be read at a later time than the one after it.
  expect(!warned_about_rate_.is_set() || machine_.time.monotonic() - warned_about_rate_ >= kMinute,
         "after the warning limits do nothing for a minute");
  limit_actions_.push_back(now);
  const auto first = std::find_if(limit_actions_.begin(), limit_actions_.end(),
                                  [now](MonotonicTime at) { return now - at < kMinute; });
  // A minute of the limiter is one that begins with an
  // action: two of them may meet.
  expect(limit_actions_.end() - first <= 2 * most, "no action is beyond the rate");
}

}  // namespace pgleak
