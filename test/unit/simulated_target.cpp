// What pgleak does to a simulated backend from within; as backend/in_place does.
#include "simulated_session.hpp"

namespace pgleak {

SessionWait SimulatedSession::wait() const {
  if (entry.id.pid == 0 || is_exiting_ || acting_at_.is_set()) return SessionWait::kOther;
  if (waits_for_standby()) return SessionWait::kSyncRep;
  if (waits_for_client_ && is_sending_) return SessionWait::kClientWrite;
  return waits_for_client_ || !is_active(entry.state) ? SessionWait::kClientRead : SessionWait::kOther;
}

// --- a signal to an active session, as backend/active_action handles it ---

// A process that runs handles a signal before it does anything else, and before the scanner's next scan. One
// that is stopped handles it first when it goes on, here before the scanner gives it up.
void SimulatedSession::send_interrupt(const ActionRequest& request) {
  was_woken = true;
  signalled_ = request;
  if (is_meant(request) && machine_.random.chance(20))
    interrupt_at_ = after(3 * kSecond);
  else if (is_running())
    handle_interrupt();
}

void SimulatedSession::handle_interrupt() {
  const ArmedSignal armed = action.armed_signal();
  // Given up, or answered already.
  if (armed.nonce == 0 || action.reply_to(armed.nonce) != Reply::kNone) return;
  if (is_ending_ || !has_transaction_ || backend.report().ended_count != armed.xact_seq) {
    action.reply(armed.nonce, Reply::kRefused);
    machine_.coverage.add("signal: refused");
    if (is_ending_) machine_.coverage.add("signal: a commit is let go");
    if (has_transaction_ && backend.report().ended_count != armed.xact_seq)
      machine_.coverage.add("signal: another transaction runs");
    return;
  } else {
    machine_.coverage.add(std::string("signal: accepted ") + to_string(armed.action));
    accepted_nonce_ = armed.nonce;
    run_time_++;
    // A terminate is meant for the session, and cannot be withdrawn: it hits what was judged, or that is
    // over.
    if (armed.action == Action::kTerminate) note_deed(signalled_);
    if (armed.action == Action::kTerminate) told_to_go = entry.id;
    action.reply(armed.nonce, Reply::kActing);
    TrueTransaction& transaction = transactions_[xact_seq_];
    (armed.action == Action::kTerminate ? transaction.has_accepted_terminate
                                        : transaction.has_accepted_cancel) = true;
    (armed.action == Action::kTerminate ? is_terminate_pending_ : is_cancel_pending_) = true;
  }
  // Some code does not check for long.
  check_at_ = after(machine_.random.chance(50) || !is_active(entry.state) ? kDeliveryTime : 15 * kSecond);
}

void SimulatedSession::check_interrupts() {
  check_at_ = MonotonicTime::none();
  if (is_ending_) {
    // The server would acknowledge a commit that no standby has.
    if (is_syncing_ && is_cancel_pending_)
      machine_.log.push_back(
          LogEntry{LogEntry::Kind::kDeed, Action::kCancel, signalled_.reason.leak_id, false});
    return;
  }
  if (is_terminate_pending_) {
    // A wait for the client ends by it too.
    transactions_[xact_seq_].is_terminated = true;
    terminated = entry.id;
    exit();
    return;
  }
  if (!is_cancel_pending_ || waits_for_client_) return;
  is_cancel_pending_ = false;
  if (!is_active(entry.state) || !has_transaction_) return;
  note_deed(signalled_);
  if (machine_.random.chance(10)) return;  // a function has caught it and goes on
  if (has_savepoint_) machine_.coverage.add("signal: caught by a savepoint");
  if (!has_savepoint_) transactions_[xact_seq_].is_cancelled = true;
  transactions_[xact_seq_].cancelled_for = signalled_.reason.leak_id;
  fail();
}

void SimulatedSession::send_terminate() {
  was_woken = true;
  terminate_at_ = after(kDeliveryTime);
  terminated = told_to_go = entry.id;
  if (is_in_block_) transactions_[xact_seq_].is_terminated = true;
}

void SimulatedSession::send_message(std::uint32_t nonce) {
  was_woken = true;
  message_nonce_ = nonce;
  // Some are stopped, or do not read, for longer than anybody waits.
  message_at_ = after(machine_.random.chance(90) ? kDeliveryTime : 4 * kSecond);
}

bool SimulatedSession::is_meant(const ActionRequest& request) const {
  return entry.id == request.session && is_running() && current_seq() == request.xact_seq &&
         entry.state_start == request.state_start;
}

void SimulatedSession::note_deed(const ActionRequest& request) {
  machine_.log.push_back(
      LogEntry{LogEntry::Kind::kDeed, request.action, request.reason.leak_id,
               entry.id == request.session && is_running() && current_seq() == request.xact_seq});
}

void SimulatedSession::handle_message() {
  if (is_delivering_) return;                           // it reads nothing
  if (machine_.random.chance(20)) message_position_++;  // another one, of the server
  gate_.note_message(++message_position_);
  const ActionRequest& request = action.request.current();
  if (request.nonce != message_nonce_) return;
  machine_.is_scanner_woken = true;
  act_on(request);
}

bool SimulatedSession::may_act(const ActionRequest& request) const {
  const bool is_idle = is_in_block_
                           ? is_idle_in_transaction(entry.state)
                           : request.action == Action::kTerminate && entry.state == SessionState::kIdle;
  return is_meant(request) && is_idle && machine_.time.monotonic() <= request.expires_at &&
         !(request.spares_exported && has_exported_);
}

void SimulatedSession::act_on(const ActionRequest& request) {
  if (!may_act(request)) {
    action.reply(request.nonce, Reply::kRefused);
    return;
  }
  if (request.action == Action::kTerminate) {
    action.reply(request.nonce, Reply::kActing);
    note_deed(request);
    terminated = told_to_go = entry.id;
    if (is_in_block_) transactions_[xact_seq_].is_terminated = true;
    if (!is_in_block_) machine_.coverage.add("terminated outside of a transaction");
    exit();
    return;
  }
  if (!gate_.is_open(request.probed)) {
    gate_.note_probe(request.nonce);
    action.reply(request.nonce, Reply::kProbed);
    return;
  }
  action.reply(request.nonce, Reply::kActing);
  acting_ = request;
  has_rolled_back_ = false;
  acting_at_ = after(kDeliveryTime);
}

void SimulatedSession::go_on_acting() {
  acting_at_ = MonotonicTime::none();
  machine_.is_scanner_woken = true;
  if (has_rolled_back_ && is_failed_) {
    action.reply(acting_.nonce, Reply::kDone);
  } else if (has_rolled_back_) {
    show_rollback();
  } else if (machine_.random.chance(3)) {
    exit();  // it could not be rolled back
  } else {
    roll_back_in_place();
  }
}

void SimulatedSession::roll_back_in_place() {
  note_deed(acting_);
  transactions_[xact_seq_].is_cancelled = true;
  transactions_[xact_seq_].cancelled_for = acting_.reason.leak_id;
  if (has_transaction_) backend.publish_end(TransactionEnd::kRolledBack, entry.xact_start);
  has_transaction_ = has_savepoint_ = is_failed_ = false;
  release_locks();
  entry.xact_start = WallTime::none();
  has_rolled_back_ = true;
  acting_at_ = after(kDeliveryTime);
}

// Until now it has shown a state that no client can bring about. Its client is as silent as before: the true
// time that it has been idle goes on.
void SimulatedSession::show_rollback() {
  is_failed_ = true;
  entry.state = SessionState::kIdleInTransactionAborted;
  entry.state_start = machine_.time.wall();
  action.aborted_at.store(entry.state_start, std::memory_order_relaxed);
  acting_at_ = after(kDeliveryTime);
}

}  // namespace pgleak
