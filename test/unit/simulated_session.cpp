#include "simulated_session.hpp"

#include <algorithm>

namespace pgleak {

namespace {

constexpr Micros kLongestPause = 2 * kMinute;
constexpr Micros kLongestStatement = kMinute;

}  // namespace

std::uint64_t Random::next() {
  state_ += 0x9E3779B97F4A7C15;
  std::uint64_t mixed = state_;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
  return mixed ^ (mixed >> 31);
}

Micros Random::duration(Micros longest) {
  Micros bound = longest;
  for (int i = below(4); i > 0 && bound > 100_us; i--) bound = bound / 20;
  return Micros{1 + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(bound.us))};
}

void TrueClock::start(const Machine& machine) {
  *this = TrueClock{};
  since = shown_since = machine.time.monotonic();
  clock_changes = machine.clock_changes;
}

void TrueClock::see(Now now, int changes_now, MonotonicTime previous) {
  if (is_seen) return;
  is_seen = true;
  first_seen = now.monotonic;
  const Micros age = std::max(now.monotonic - since, Micros{0});
  const bool was_missed = previous.is_set() && previous > since;
  const bool is_exact = changes_now == clock_changes && !was_missed;
  at_least = is_exact ? age : Micros{0};
  at_most = is_exact            ? std::max(age, now.monotonic - shown_since)
            : previous.is_set() ? std::max(age, now.monotonic - previous)
                                : kHour * 1000;
  if (is_exact && previous.is_set()) at_most = std::min(at_most, now.monotonic - previous);
}

MonotonicTime SimulatedSession::next_at() const {
  MonotonicTime next{INT64_MAX};
  if (waiter_at_.is_set()) next = waiter_at_;
  // While it acts, the backend does nothing else.
  if (acting_at_.is_set()) return std::min(next, acting_at_);
  // A process that has been sent a signal does not get on before it handles it.
  if (interrupt_at_.is_set()) return std::min(next, interrupt_at_);
  for (const MonotonicTime at : {client_at_, message_at_, terminate_at_, check_at_})
    if (at.is_set() && at < next) next = at;
  return next;
}

void SimulatedSession::step() {
  changes++;
  const MonotonicTime now = next_at();
  const auto is_due = [now](MonotonicTime* at) {
    if (*at != now) return false;
    *at = MonotonicTime::none();
    return true;
  };
  if (is_due(&waiter_at_)) {
    let_waiter_come_or_go();
    return;
  }
  run_time_++;
  if (acting_at_.is_set()) {
    acting_at_ = MonotonicTime::none();
    go_on_acting();
  } else if (is_due(&message_at_)) {
    if (entry.id.pid > 0 && !is_exiting_) handle_message();
  } else if (is_due(&interrupt_at_)) {
    if (entry.id.pid > 0 && !is_exiting_) handle_interrupt();
  } else if (is_due(&check_at_)) {
    if (entry.id.pid > 0 && !is_exiting_) check_interrupts();
  } else if (is_due(&terminate_at_)) {
    if (entry.id.pid > 0 && !is_exiting_) {
      if (is_ending_) finish_end();
      exit();
    }
  } else if (is_due(&client_at_)) {
    act_as_client();
  }
}

void SimulatedSession::hurry(int steps) {
  for (int i = 0; i < steps && client_at_.is_set() && !acting_at_.is_set(); i++) {
    changes++;
    machine_.time.pass(machine_.random.duration(100_us));
    run_time_++;
    act_as_client();
  }
}

void SimulatedSession::leave() {
  is_left_ = true;
  while (acting_at_.is_set()) go_on_acting();
  if (is_ending_) finish_end();
  interrupt_at_ = MonotonicTime::none();
  if (entry.id.pid > 0 && !is_exiting_) exit();
  if (entry.id.pid == 0) client_at_ = MonotonicTime::none();
}

void SimulatedSession::connect() {
  // Nobody can tell any more in which state the last owner left.
  for (TrueTransaction& transaction : transactions_) transaction.is_ambiguous = true;
  entry = StatusEntry{};
  entry.id = SessionId{++machine_.last_pid, machine_.time.wall()};
  entry.is_client_backend = machine_.random.chance(95);
  entry.state = SessionState::kUnknown;
  entry.state_start = machine_.time.wall();
  is_claimed_ = false;
  is_superuser = machine_.random.chance(15);
  knows_run_time_ = machine_.random.chance(85);
  knows_unread_ = machine_.random.chance(85);
  counts_bytes_ = machine_.random.chance(50);
  waits = TrueWaits{};
  waiter_at_ = after(10 * kSecond);
  message_at_ = interrupt_at_ = terminate_at_ = check_at_ = MonotonicTime::none();
  is_cancel_pending_ = is_terminate_pending_ = false;
  gate_ = MessageGate{};
}

// What is under way is rolled back. The entry goes on to show the last state until it is given up.
void SimulatedSession::exit() {
  if (entry.state == SessionState::kIdleInTransactionAborted)
    for (XactSeq seq = 0; seq < xact_seq_; seq++) transactions_[seq].is_ambiguous = true;
  if (is_in_block_) {
    // Whatever ends it now, it has been told to, if only in an earlier transaction of the same message.
    if (is_terminate_pending_)
      transactions_[xact_seq_].is_terminated = transactions_[xact_seq_].has_accepted_terminate = true;
    transactions_[xact_seq_].is_ambiguous = is_plain_aborted() && is_active(entry.state);
    const WallTime shown = entry.xact_start;
    end_block(TransactionEnd::kDisconnected);
    if (machine_.random.chance(50)) entry.xact_start = shown;
  }
  if (is_terminate_pending_) terminated = told_to_go = entry.id;
  release_locks();
  release_session_lock();
  is_delivering_ = false;
  waiter_at_ = MonotonicTime::none();
  is_exiting_ = true;
  // The server may need a transaction of its own, to drop temporary tables.
  if (is_claimed_ && machine_.random.chance(20))
    backend.publish_end(TransactionEnd::kDisconnected, WallTime::none());
  client_at_ = after(kSecond);
}

// The server sets the session up in a transaction of its own. A walsender never claims a slot.
void SimulatedSession::set_up() {
  entry.state_start = machine_.time.wall();
  if (!entry.is_client_backend) {
    entry.state = SessionState::kActive;
    entry.xact_start = machine_.time.wall();
    is_exiting_ = true;
    return;
  }
  LimitValues own = nothing_set();
  for (Micros& value : own.value)
    if (machine_.random.chance(10))
      value = machine_.random.chance(30) ? kNever : machine_.random.duration(30 * kSecond);
  std::optional<Impact> min_impact;
  if (machine_.random.chance(10)) min_impact = static_cast<Impact>(machine_.random.below(4));
  BackendOwner owner{};
  owner.session = entry.id;
  owner.is_superuser = is_superuser;
  backend.claim(owner, own, min_impact);
  is_claimed_ = true;
  entry.state = SessionState::kIdle;
}

void SimulatedSession::act_as_client() {
  if (is_exiting_) {
    entry.id.pid = 0;
    is_exiting_ = false;
    client_at_ = is_left_ ? MonotonicTime::none() : after(10 * kSecond);
    return;
  }
  if (entry.id.pid == 0) {
    connect();
  } else if (is_terminate_pending_ && !is_active(entry.state)) {
    exit();
    return;
  } else if (!is_claimed_) {
    set_up();
  } else if (is_ending_) {
    finish_end();
  } else if (waits_for_client_ && (is_cancel_pending_ || is_terminate_pending_)) {
    // What the client has sent at last leads to the next check.
    waits_for_client_ = false;
    check_interrupts();
    if (is_exiting_) return;
  } else if (waits_for_client_ && machine_.random.chance(40)) {
    move_data();
  } else if (is_delivering_) {
    end_delivery();
  } else if (is_active(entry.state)) {
    finish();
  } else if (!is_in_block_ && machine_.random.chance(8)) {
    begin_delivery();
  } else if (machine_.random.chance(has_session_lock_ ? 2 : 8)) {
    exit();
    return;
  } else {
    start(choose_command());
    if (machine_.random.chance(50)) finish();
  }
  hold_something();
  lock_something();
  client_at_ = after(is_active(entry.state) ? kLongestStatement : kLongestPause);
}

SimulatedSession::Command SimulatedSession::choose_command() {
  Random& random = machine_.random;
  if (!is_in_block_) {
    if (random.chance(has_session_lock_ ? 80 : 20))
      return random.chance(20) ? Command::kFail : Command::kStatement;
    return random.chance(10) ? Command::kBeginCommitBegin : Command::kBegin;
  }
  switch (random.below(12)) {
    case 0:
    case 1:
      return Command::kCommit;
    case 2:
      return Command::kRollback;
    case 3:
      return random.chance(50) ? Command::kPrepare : Command::kCommitAndBegin;
    case 4:
      return Command::kSavepoint;
    case 5:
    case 6:
      return Command::kFail;
    case 7:
      return has_savepoint_ ? Command::kRollbackTo : Command::kStatement;
    default:
      return Command::kStatement;
  }
}

void SimulatedSession::start(Command command) {
  command_ = command;
  entry.state = SessionState::kActive;
  entry.state_start = machine_.time.wall();
  command_clock_.start(machine_);
  statement_start_ = entry.state_start;
  if (command == Command::kStatement && machine_.random.chance(30)) begin_to_wait_for_client();
  if (!is_in_block_) begin_transaction();
}

void SimulatedSession::finish() {
  waits_for_client_ = is_sending_ = false;
  const bool commits = command_ == Command::kCommit || command_ == Command::kCommitAndBegin;
  if (commits && is_explicit_ && has_transaction_ && !is_failed_ && !is_ending_ &&
      machine_.random.chance(40)) {
    begin_end();
    return;
  }
  if (is_in_block_ && (is_failed_ || is_explicit_)) {
    finish_in_block();
    return;
  }
  switch (command_) {
    case Command::kFail:
      fail();
      return;
    case Command::kBeginCommitBegin:
      end_block(TransactionEnd::kCommitted);
      begin_next();
      if (machine_.random.chance(50)) return;
      break;
    case Command::kBegin:
      is_explicit_ = true;
      break;
    default:
      end_block(TransactionEnd::kCommitted);
      break;
  }
  show_idle(is_in_block_ ? SessionState::kIdleInTransaction : SessionState::kIdle);
}

void SimulatedSession::finish_in_block() {
  switch (command_) {
    case Command::kCommit:
    case Command::kCommitAndBegin:
    case Command::kPrepare:
    case Command::kRollback: {
      const bool rolls_back = is_failed_ || command_ == Command::kRollback;
      end_block(rolls_back                      ? TransactionEnd::kRolledBack
                : command_ == Command::kPrepare ? TransactionEnd::kPrepared
                                                : TransactionEnd::kCommitted);
      if (command_ != Command::kCommitAndBegin) break;
      begin_next();
      if (machine_.random.chance(50)) return;
      break;
    }
    case Command::kSavepoint:
      if (!is_failed_) has_savepoint_ = true;
      break;
    case Command::kRollbackTo:
      if (has_savepoint_ && has_transaction_) is_failed_ = false;
      break;
    case Command::kFail:
      fail();
      return;
    default:
      break;
  }
  show_idle(!is_in_block_ ? SessionState::kIdle
            : is_failed_  ? SessionState::kIdleInTransactionAborted
                          : SessionState::kIdleInTransaction);
}

// All that one message begins is shown to have begun when the message came.
void SimulatedSession::begin_transaction() {
  is_in_block_ = has_transaction_ = true;
  is_explicit_ = has_savepoint_ = is_failed_ = false;
  xact_seq_ = backend.report().ended_count;
  transactions_.resize(xact_seq_ + 1);
  entry.xact_start = entry.state_start;
  open.start(machine_);
  open.shown_since = command_clock_.since;
  if (open.since != open.shown_since) machine_.coverage.add("a transaction of one message");
  if (command_clock_.clock_changes != machine_.clock_changes) open.clock_changes = -1;
}

// As begin_transaction_end() of backend/active_action: from here on the commit is let go.
void SimulatedSession::begin_end() {
  is_ending_ = true;
  is_syncing_ = machine_.random.chance(50);
  withdraw_cancel();
}

void SimulatedSession::finish_end() {
  finish_in_block();
  is_syncing_ = false;
}

// As backend/active_action does when a transaction begins to commit.
void SimulatedSession::withdraw_cancel() {
  if (accepted_nonce_ != 0 && is_cancel_pending_) {
    is_cancel_pending_ = false;
    machine_.coverage.add("signal: withdrawn with the transaction");
  }
  accepted_nonce_ = 0;
}

// As finish_transaction_end() there: a cancel that rolled the transaction back has had its effect.
void SimulatedSession::answer_cancel() {
  if (accepted_nonce_ != 0 && !is_cancel_pending_) action.reply(accepted_nonce_, Reply::kDone);
  withdraw_cancel();
}

// The next transaction of the same message, which may go on for a while.
void SimulatedSession::begin_next() {
  begin_transaction();
  is_explicit_ = true;
  command_ = Command::kStatement;
}

void SimulatedSession::end_block(TransactionEnd how) {
  if (has_transaction_ && how == TransactionEnd::kRolledBack) answer_cancel();
  if (has_transaction_) withdraw_cancel();
  is_ending_ = false;
  waits_for_client_ = is_sending_ = has_exported_ = false;
  release_locks();
  if (has_transaction_) backend.publish_end(how, entry.xact_start);
  transactions_[xact_seq_].end = how;
  entry.xact_start = WallTime::none();
  is_in_block_ = has_transaction_ = false;
}

void SimulatedSession::fail() {
  waits_for_client_ = is_sending_ = false;
  if (!is_explicit_) {
    end_block(TransactionEnd::kRolledBack);
    show_idle(SessionState::kIdle);
    return;
  }
  if (has_transaction_ && !has_savepoint_) {
    answer_cancel();
    backend.publish_end(TransactionEnd::kRolledBack, entry.xact_start);
    entry.xact_start = WallTime::none();
    has_transaction_ = false;
    release_locks();
  }
  is_failed_ = true;
  show_idle(SessionState::kIdleInTransactionAborted);
}

void SimulatedSession::show_idle(SessionState state) {
  // A cancel that comes while the next command is awaited is ignored.
  if (is_cancel_pending_) machine_.coverage.add("signal: the statement has ended before");
  is_cancel_pending_ = false;
  accepted_nonce_ = 0;
  entry.state = state;
  entry.state_start = machine_.time.wall();
  idle.start(machine_);
}

void SimulatedSession::hold_something() {
  held = HeldResources{0, 0, 0, 0, WallTime::none(), 1000, false, 0, false};
  Random& random = machine_.random;
  show_waiters();
  if (is_claimed_ && random.chance(5)) backend.publish_declared(random.chance(50));
  if (!has_transaction_) return;
  if (random.chance(5)) has_exported_ = true;
  held.waits = is_active(entry.state) && random.chance(15);
  if (held.waits) held.root_pid = 99;
  if (random.chance(50)) held.locks = random.below(5);
  if (random.chance(40)) held.xid = 900;
  if (random.chance(40)) held.xmin = 890;
  show_waiters();
}

}  // namespace pgleak
