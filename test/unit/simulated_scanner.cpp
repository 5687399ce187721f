#include "simulated_scanner.hpp"

#include <algorithm>

namespace pgleak {

void SimulatedScanner::pass_until(MonotonicTime until, bool may_wake) {
  machine_.is_scanner_woken = false;
  while (!may_wake || !machine_.is_scanner_woken) {
    const auto next = std::min_element(sessions_.begin(), sessions_.end(), [](const auto& a, const auto& b) {
      return a.next_at() < b.next_at();
    });
    if (next->next_at() > until) break;
    machine_.time.pass(std::max(next->next_at() - machine_.time.monotonic(), Micros{0}));
    next->step();
  }
  if (!may_wake || !machine_.is_scanner_woken) machine_.time.pass(until - machine_.time.monotonic());
}

// Between two things that a scanner does, sessions do as they like.
void SimulatedScanner::let_sessions_go_on() {
  if (settings.changes_in_a_scan && machine_.random.chance(10))
    pass(machine_.random.duration(300 * kMillisecond));
}

void SimulatedScanner::request(int slot, Action action, XactSeq xact_seq) {
  ManualRequest& manual = session(slot).manual;
  if (manual.phase != ManualRequest::Phase::kFree) return;
  manual = ManualRequest{};
  manual.phase = ManualRequest::Phase::kAsked;
  manual.action = action;
  manual.request_id = ++last_request_id_;
  manual.session = session(slot).entry.id;
  manual.xact_seq = xact_seq;
  witness_.asked(manual.request_id);
}

void SimulatedScanner::withdraw(int slot) {
  ManualRequest& manual = session(slot).manual;
  if (manual.phase != ManualRequest::Phase::kAsked) return;
  manual.phase = ManualRequest::Phase::kFree;
  witness_.withdrew(manual.request_id);
}

bool SimulatedScanner::has_open_episode() const {
  return std::any_of(records_.begin(), records_.end(), [](const Record& record) { return record.is_open; });
}

Micros SimulatedScanner::scan() {
  Scan scan{};
  scan.now = machine_.time.now();
  scan.inputs = ScanInputs{settings.limits,
                           settings.min_impact,
                           settings.rules,
                           settings.rules_are_loaded,
                           previous_,
                           settings.dry_run,
                           settings.act_on_superusers,
                           settings.act_on_declared,
                           settings.max_actions_per_minute};
  budgets_.records = TimeBudget{};
  budgets_.actions = TimeBudget{};
  scan.watches_transactions =
      uses_transaction_clock(settings.limits) || settings.rules->uses_transaction_clock;
  for (const SimulatedSession& other : sessions_)
    if (uses_transaction_clock(other.backend.own_limits())) scan.watches_transactions = true;
  scan.next_due_in = kForever;

  for (int slot = 0; slot < kSimulatedSlots; slot++) witness_.scan_begins(slot, session(slot));
  find_holders(scan.now.monotonic);
  for (int slot = 0; slot < kSimulatedSlots; slot++) witness_.looked(slot, session(slot));
  for (int i = 0; i < kSimulatedSlots; i++) {
    const int slot = (first_slot_ + i) % kSimulatedSlots;
    if (is_candidate(slot, scan)) process(slot, &scan);
  }
  for (int slot = 0; slot < kSimulatedSlots; slot++)
    if (session(slot).manual.phase == ManualRequest::Phase::kAsked && !record(slot).is_open)
      process(slot, &scan);

  const bool has_deferred = budgets_.records.has_deferred() || budgets_.actions.has_deferred();
  first_slot_ = budgets_.records.has_deferred()   ? budgets_.records.first_deferred()
                : budgets_.actions.has_deferred() ? budgets_.actions.first_deferred()
                                                  : 0;
  for (int slot = 0; slot < kSimulatedSlots; slot++)
    if (!has_deferred) witness_.scanned(slot, &session(slot), record(slot).open_episode(), scan.inputs);
  if (has_deferred) return Micros{0};
  previous_.at_idle = scan.now.monotonic;
  previous_.at_transaction = scan.watches_transactions ? scan.now.monotonic : MonotonicTime::none();
  return is_waiting_lately(scan.now.monotonic) ? sooner(scan.next_due_in, kSimulatedLookInterval)
                                               : scan.next_due_in;
}

// --- as scanner/holders ---

bool SimulatedScanner::is_waiting_lately(MonotonicTime now) const {
  return waiters_seen_at_.is_set() && now - waiters_seen_at_ < kBlockingGap;
}

bool SimulatedScanner::is_candidate(int slot, const Scan& scan) {
  const SessionState state = session(slot).entry.state;
  return is_idle_in_transaction(state) || (is_active(state) && scan.watches_transactions) ||
         record(slot).is_open || record(slot).is_root || record(slot).is_stalled;
}

bool SimulatedScanner::may_be_stalled(const SimulatedSession& target) const {
  if (target.entry.state == SessionState::kIdle && target.entry.xact_start.is_set()) return true;
  const SessionWait wait = target.wait();
  return is_active(target.entry.state) &&
         (wait == SessionWait::kClientRead || wait == SessionWait::kClientWrite);
}

void SimulatedScanner::find_holders(MonotonicTime now) {
  const Micros interval =
      is_waiting_lately(now) || has_open_episode() ? kWaiterPollInterval : 500 * kMillisecond;
  has_looked_for_waiters_ = !waiters_looked_for_at_.is_set() || now - waiters_looked_for_at_ >= interval;
  if (has_looked_for_waiters_) {
    waiters_looked_for_at_ = now;
    for (int slot = 0; slot < kSimulatedSlots; slot++) record(slot).root_version = session(slot).version();
    let_sessions_go_on();
    for (int slot = 0; slot < kSimulatedSlots; slot++) {
      record(slot).is_root = session(slot).others_wait();
      if (record(slot).is_root) waiters_seen_at_ = now;
    }
  }
  if (stalled_looked_for_at_.is_set() && now - stalled_looked_for_at_ < kSecond) return;
  stalled_looked_for_at_ = now;
  for (int slot = 0; slot < kSimulatedSlots; slot++) record(slot).is_stalled = may_be_stalled(session(slot));
}

void SimulatedScanner::process(int slot, Scan* scan) {
  constexpr int kMostRounds = 5;
  for (int round = 0; round < kMostRounds; round++) {
    SessionSnapshot snapshot;
    if (!read(slot, *scan, &snapshot)) return;
    const Episode* const open = record(slot).open_episode();
    Decision decision = decide_twice(snapshot, open, scan->inputs);
    for (int asks = 0; decision.needs_more() && asks < 2; asks++) {
      witness_.asked_for_more(snapshot, decision);
      if (!read_more(slot, decision, &snapshot)) return;
      decision = decide_twice(snapshot, open, scan->inputs);
    }
    witness_.asked_for_nothing_more(decision);
    let_sessions_go_on();
    if (settings.changes_in_a_scan && machine_.random.chance(1)) withdraw(slot);
    witness_.decided(slot, &session(slot), snapshot, open, scan->inputs, decision);
    const bool is_record =
        decision.episode == Decision::EpisodeStep::kOpen || decision.episode == Decision::EpisodeStep::kClose;
    const bool is_action =
        decision.step == Decision::ActionStep::kBegin || decision.step == Decision::ActionStep::kDryRun;
    apply(slot, snapshot, decision, scan);
    if (is_record && settings.is_slow) budgets_.records.spend(machine_.random.duration(3 * kMillisecond));
    if (is_action && !decision.is_manual && settings.is_slow)
      budgets_.actions.spend(machine_.random.duration(3 * kMillisecond));
    if (!decision.decide_again) return;
  }
}

// --- read; as scanner/session_reader ---

bool SimulatedScanner::read(int slot, const Scan& scan, SessionSnapshot* snapshot) {
  SimulatedSession& target = session(slot);
  const Episode* const open = record(slot).open_episode();
  Random& random = machine_.random;
  // What is not read holds anything.
  snapshot->is_superuser = random.chance(50);
  snapshot->is_declared = random.chance(50);
  snapshot->leaves_debris = random.chance(50);
  snapshot->wait = SessionWait::kOther;
  snapshot->reply = static_cast<Reply>(random.below(5));
  snapshot->watched_end = static_cast<TransactionEnd>(random.below(5));

  const TransactionReport report = target.backend.report();
  const StatusEntry entry = target.entry;
  snapshot_version_ = target.version();
  let_sessions_go_on();
  if (entry.id.pid > 0 && target.backend.report().ended_count != report.ended_count) return false;
  const bool is_there = entry.id.pid > 0;
  snapshot->status = combine(entry, report);
  snapshot->slot = slot;
  snapshot->is_present = is_there && (open == nullptr || entry.id == open->session);
  snapshot->is_client_backend = entry.is_client_backend;
  const bool has_begun_since =
      snapshot->status.state_start > scan.now.wall || snapshot->status.xact_start > scan.now.wall;
  snapshot->now = snapshot->is_present && has_begun_since ? machine_.time.now() : scan.now;
  snapshot->clocks = record(slot).clocks;
  snapshot->action.action = Action::kNone;
  snapshot->last_state = entry.state;
  if (snapshot->is_present && entry.is_client_backend) {
    snapshot->limits =
        LimitFacts{target.backend.own_limits(), target.backend.own_action_min_impact(), {}, kEndOfTime};
    for (int i = 0; i < settings.rules->count; i++) snapshot->limits->matches.add(i);
  }
  if (!snapshot->is_present && open != nullptr &&
      (is_there || entry.id.backend_start != open->session.backend_start))
    snapshot->last_state = open->progress.last_state;
  if (open != nullptr) read_action(slot, snapshot);
  if (target.manual.phase == ManualRequest::Phase::kAsked) snapshot->manual = target.manual;
  if (snapshot->is_present && entry.is_client_backend) read_holding(slot, snapshot);
  return true;
}

void SimulatedScanner::read_holding(int slot, SessionSnapshot* snapshot) {
  SimulatedSession& target = session(slot);
  const Record& known = record(slot);
  if (!known.is_open && !known.is_root && !known.is_stalled) return;
  if (has_looked_for_waiters_ && !known.is_root)
    snapshot->waiters = Waiters::kNone;
  else if (has_looked_for_waiters_ && known.root_version == snapshot_version_)
    snapshot->waiters = Waiters::kCertain;
  BackendOwner owner;
  const bool is_owned = target.backend.read_owner(snapshot->status.id, &owner);
  if (!known.is_open && known.is_stalled && is_owned) snapshot->wait = target.wait();
  const bool may_stall = waits_for_client(*snapshot) && !is_idle_in_transaction(snapshot->status.state);
  const StallWatch& stall = snapshot->clocks.stall;
  const bool is_known =
      snapshot->clocks.id == snapshot->status.id && !stall.wants_evidence(snapshot->now.monotonic);
  if (!may_stall || is_known || target.entry.id != snapshot->status.id) return;
  snapshot->evidence = target.evidence();
  snapshot->evidence->is_sending = snapshot->wait == SessionWait::kClientWrite;
}

void SimulatedScanner::read_action(int slot, SessionSnapshot* snapshot) {
  SimulatedSession& target = session(slot);
  snapshot->watched_end = target.backend.watched_end();
  snapshot->aborted_at = target.action.aborted_at.load(std::memory_order_relaxed);
  snapshot->is_declared = target.is_declared();
  snapshot->leaves_debris = target.backend.leaves_debris();
  snapshot->action = record(slot).action;
  if (snapshot->action.action != Action::kNone) {
    let_sessions_go_on();
    snapshot->reply = target.action.reply_to(snapshot->action.nonce);
    let_sessions_go_on();
  }
  BackendOwner owner;
  snapshot->wait = SessionWait::kOther;
  if (target.backend.read_owner(record(slot).episode.session, &owner)) snapshot->wait = target.wait();
}

bool SimulatedScanner::read_more(int slot, const Decision& decision, SessionSnapshot* snapshot) {
  SimulatedSession& target = session(slot);
  BackendOwner owner;
  if (!target.backend.read_owner(snapshot->status.id, &owner)) return false;
  snapshot->is_superuser = owner.is_superuser;
  if (decision.needs_held) snapshot->held = target.held;
  if (decision.needs_details) snapshot->details.emplace();
  return true;
}

Decision SimulatedScanner::decide_twice(const SessionSnapshot& snapshot, const Episode* open,
                                        const ScanInputs& inputs) {
  Budgets budgets = budgets_;
  const Decision first = decide(snapshot, open, inputs, &budgets);
  const Decision decision = decide(snapshot, open, inputs, &budgets_);
  witness_.decided_twice(first, decision);
  return decision;
}

}  // namespace pgleak
