// What the witness says of whole episodes, actions and requests.
#include <set>

#include "simulated_witness.hpp"

namespace pgleak {

namespace {

Outcome expected_outcome(const TrueTransaction& truth, const Episode& episode) {
  switch (truth.end) {
    case TransactionEnd::kNone:
      return Outcome::kNone;
    case TransactionEnd::kCommitted:
      // Of a session that delivered notifications while it was idle.
      return episode.state == SessionState::kIdle ? Outcome::kReleased : Outcome::kCommitted;
    case TransactionEnd::kPrepared:
      return Outcome::kPrepared;
    case TransactionEnd::kRolledBack:
      return truth.is_cancelled ? Outcome::kCancelled : Outcome::kRolledBack;
    case TransactionEnd::kDisconnected:
      return truth.is_terminated  ? Outcome::kTerminated
             : truth.is_cancelled ? Outcome::kCancelled
                                  : Outcome::kDisconnected;
  }
  return Outcome::kNone;
}

const char* name_of(Outcome outcome) { return outcome == Outcome::kNone ? "none" : to_string(outcome); }
const char* name_of(Action action) { return action == Action::kNone ? "none" : to_string(action); }
const char* name_of(ActionResult result) {
  return result == ActionResult::kNone ? "none" : to_string(result);
}

bool is_no_success(Outcome outcome) {
  return outcome == Outcome::kRolledBack || outcome == Outcome::kDisconnected ||
         outcome == Outcome::kCancelled || outcome == Outcome::kTerminated;
}

}  // namespace

void Witness::opened(int slot, const Episode& episode) {
  if (!episode.is_session_level)
    expect(ever_opened_.emplace(slot, episode.xact_seq).second, "a transaction leaks at most once");
  open_leaks_.insert(episode.leak_id);
}

void Witness::closed(const TrueTransaction& truth, const Episode& episode, Outcome outcome) {
  expect(open_leaks_.erase(episode.leak_id) == 1, "an episode closes once");
  coverage_.add(std::string("outcome: ") + name_of(outcome));
  const Outcome expected = expected_outcome(truth, episode);
  if (truth.has_accepted_cancel && outcome == Outcome::kCommitted)
    coverage_.add("committed after an accepted cancel");
  expect(expected != Outcome::kNone, "no episode closes while its transaction goes on");
  // A signal counts if its effect was seen in time, which only the scanner knows.
  const bool may_be_cancelled = truth.has_accepted_cancel && outcome == Outcome::kCancelled;
  const bool is_seen_late = (truth.has_accepted_cancel && expected == Outcome::kCancelled) ||
                            (truth.has_accepted_terminate && expected == Outcome::kTerminated);
  const bool is_true =
      outcome == expected ||
      ((may_be_cancelled || is_seen_late) && is_no_success(outcome) && is_no_success(expected)) ||
      // An earlier episode, on the session's own lock, has cancelled it.
      (expected == Outcome::kCancelled && truth.cancelled_for != episode.leak_id && is_no_success(outcome)) ||
      (truth.is_ambiguous && is_no_success(outcome) && is_no_success(expected));
  const std::string promise = std::string("the outcome is what happened; it says ") + name_of(outcome) +
                              " instead of " + name_of(expected);
  expect(is_true, promise.c_str());
}

void Witness::noted_evidence(const Episode& episode, const Decision& decision) {
  const ActionState& state = episode.progress.action;
  const bool is_dry = decision.step == Decision::ActionStep::kDryRun;
  expect(state.last == decision.action &&
             state.result == (is_dry ? ActionResult::kDryRun : ActionResult::kRequested),
         "the evidence names the action that begins");
}

void Witness::closes(bool is_open) { expect(is_open, "only what is open closes"); }

void Witness::tried_signal(bool is_open) { expect(is_open, "no signal without an open episode"); }

void Witness::finished(bool is_open, const Episode& episode) {
  const ActionState& state = episode.progress.action;
  // Another action starts the count again.
  no_effects_[{episode.leak_id, state.last == Action::kCancel ? Action::kTerminate : Action::kCancel}] = {};
  NoEffects& vain = no_effects_[{episode.leak_id, state.last}];
  vain = had_no_effect(state.result) ? NoEffects{vain.in_a_row + 1, scan_now_} : NoEffects{};
  if (vain.in_a_row > 1) expect(!is_reported(episode.progress), "no effect is reported once");
  expect(is_open, "an action is over before its episode is");
  coverage_.add(std::string("result: ") + name_of(state.last) + " " + name_of(state.result));
  expect(state.result != ActionResult::kRequested && state.result != ActionResult::kNone,
         "an action that is over has a result");
}

void Witness::answered(std::uint64_t request_id, ActionResult result) {
  expect(open_requests_.erase(request_id) == 1, "a request gets one answer");
  coverage_.add(std::string("answer: ") + name_of(result));
  expect(has_failed(result) || result == ActionResult::kDone || result == ActionResult::kStandby,
         "an answer says how it ended");
}

void Witness::scanned(int slot, SimulatedSession* session, const Episode* open, const ScanInputs& inputs) {
  Books& books = books_[slot];
  books.promised = books.next_promise;
  // What changed while it was read is for the next scan.
  if (session->changes != books.changes || !session->is_running()) return;
  if (!session->entry.is_client_backend) return;
  LimitFacts facts{session->backend.own_limits(), session->backend.own_action_min_impact(), {}, kEndOfTime};
  for (int i = 0; i < inputs.rules->count; i++) facts.matches.add(i);
  const SessionStatus status = combine(session->entry, session->backend.report());
  const Micros waited = shortest_wait(books, status, scan_now_);
  const Micros waited_by_now = shortest_wait(books, status, machine_.time.monotonic());
  if (waited != waited_by_now) return;  // the gap has become too long since
  const Impact impact = waited >= Micros{0} ? Impact::kBlocking : grade(session->held);
  const Limits limits = choose_limits(*inputs.rules, facts.matches, facts.own, inputs.server_limits, impact);
  // A holder that shows nothing of it is visited when somebody waits.
  const bool is_seen = !books.sightings.empty() && books.sightings.back().at >= scan_now_;
  const auto has_waited = [waited, is_seen, &limits](LimitKind kind) {
    const Micros limit = limits.after(Clock::kBlocking, kind);
    return is_seen && limit != kNever && waited >= limit;
  };
  const bool is_for_transaction = open == nullptr || !open->is_session_level;
  const auto is_past = [&](LimitKind kind) {
    return has_waited(kind) || (is_for_transaction && has_passed(*session, limits, kind, inputs.previous));
  };
  // A request by hand may roll a transaction back while an episode on the session's own lock is open. The
  // idle time of the next episode begins with that.
  const std::int64_t leak_id = open != nullptr ? open->leak_id : 0;
  const std::int64_t cancelled_for = session->transaction(session->current_seq()).cancelled_for;
  if (session->is_in_block() && cancelled_for != 0 && cancelled_for != leak_id) return;
  if (open == nullptr) {
    expect(!is_past(LimitKind::kLeak), "the first scan after its limit finds a leak");
  } else if (is_past(LimitKind::kTerminate) && may_be_acted_on(slot, session, *open, impact, facts, inputs)) {
    coverage_.add("an action is due");
    if (has_waited(LimitKind::kTerminate)) coverage_.add("an action of the blocking clock is due");
    expect(open->progress.action.last == Action::kTerminate,
           "the first scan after its limit begins an action that nothing holds off");
  }
}

// For certain; what the wall clock has made uncertain has not.
bool Witness::has_passed(const SimulatedSession& session, const Limits& limits, LimitKind kind,
                         PreviousScan previous) const {
  const auto has = [&](Clock clock, TrueClock true_clock, MonotonicTime previous_at) {
    const Micros limit = limits.after(clock, kind);
    true_clock.see(Now{machine_.time.wall(), scan_now_}, machine_.clock_changes, previous_at);
    return limit != kNever && true_clock.lower_bound(scan_now_) >= limit;
  };
  if (!session.is_in_block()) return false;
  const SessionState state = session.entry.state;
  const bool is_idle = is_idle_in_transaction(state);
  // When an aborted block began is not to be seen while it refuses a statement; nor when the server began to
  // deliver notifications.
  const bool shows_begin = is_idle || (session.entry.xact_start.is_set() && is_active(state));
  return (is_idle && has(Clock::kIdle, session.idle, previous.at_idle)) ||
         (shows_begin && has(Clock::kTransaction, session.open, previous.at_transaction));
}

bool Witness::may_be_acted_on(int slot, SimulatedSession* session, const Episode& open, Impact impact,
                              const LimitFacts& facts, const ScanInputs& inputs) {
  if (books_[slot].was_busy || open.progress.action.result == ActionResult::kRequested) return false;
  if (session->is_superuser && !inputs.act_on_superusers) return false;
  if (session->is_declared() && !inputs.act_on_declared) return false;
  if (session->held.waits || session->wait() == SessionWait::kSyncRep) return false;
  const bool is_resting = warned_about_rate_.is_set() && scan_now_ - warned_about_rate_ < kMinute;
  return inputs.rules_are_loaded && !is_resting &&
         impact >= facts.own_min_impact.value_or(inputs.server_min_impact);
}

void Witness::ended() {
  expect(open_leaks_.empty(), "every episode closes");
  expect(open_requests_.empty(), "every request gets an answer");
  std::set<std::pair<std::int64_t, Action>> proven;
  for (const LogEntry& entry : machine_.log) {
    if (entry.kind == LogEntry::Kind::kEvidence) {
      proven.emplace(entry.leak_id, entry.action);
      continue;
    }
    coverage_.add(std::string("deed: ") + name_of(entry.action));
    expect(proven.count({entry.leak_id, entry.action}) == 1, "no deed without evidence before it");
    expect(entry.is_meant, "no deed hits anything but what was judged");
  }
}

}  // namespace pgleak
