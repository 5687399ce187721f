// The target's side of an action on an active session: the scanner arms a request in the slot and sends
// SIGINT; the target's handler checks whether that request is for the transaction that runs now.
//
// Why a handler: a signal names no transaction. Between the scanner's last check and the delivery, the target
// may have committed and begun a transaction that was never judged. A commit that has begun is not
// interrupted, above all one that waits for a synchronous standby: a cancel would make the server report a
// commit that no standby has. An accepted cancel that the server has not processed by the end of the
// transaction is withdrawn.
//
// Runs in a signal handler and in transaction callbacks. Uses atomics and the server's own handlers only:
// never allocates, takes a lock, or ereports.

#include <csignal>

#include "backend/backend.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"

extern "C" {
#include "access/xact.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// True if one of the server's own time-outs has made the cancel pending as well. Then it stays pending.
bool is_own_timeout() {
  return get_timeout_indicator(STATEMENT_TIMEOUT, false) || get_timeout_indicator(LOCK_TIMEOUT, false);
}

// What the accepted request asks for, and its reason, copied because the scanner may give the request up
// before it takes effect.
Action accepted_action;
ActionReason accepted_reason;

bool is_meant(const ArmedSignal& armed) {
  if (spares(armed.spares_exported)) return false;
  return !active_action.is_ending && IsTransactionState() &&
         my_slot->backend.report().ended_count == armed.xact_seq;
}

// Accepts the armed request unless it was given up, is answered already, or is for another transaction.
bool accepts_signal() {
  const ArmedSignal armed = my_slot->action.armed_signal();
  ActionRequest request;
  if (armed.nonce == 0 || my_slot->action.reply_to(armed.nonce) != Reply::kNone) return false;
  if (!my_slot->action.request.read(&request) || request.nonce != armed.nonce || !is_meant(armed)) {
    my_slot->action.reply(armed.nonce, Reply::kRefused);
    return false;
  }
  active_action.accepted_nonce = static_cast<sig_atomic_t>(armed.nonce);
  active_action.is_touched = true;
  accepted_action = armed.action;
  accepted_reason = request.reason;
  my_slot->action.reply(armed.nonce, Reply::kActing);
  return true;
}

bool is_from_scanner(const siginfo_t& info) {
  return info.si_code == SI_USER &&
         (info.si_pid == shared->scanner_pid.load(std::memory_order_relaxed) ||
          info.si_pid == shared->former_scanner_pid.load(std::memory_order_relaxed));
}

// The sender decides: a signal of any other process, or of a time-out of this session, goes to the server's
// handler as without pgleak.
void handle_sigint(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  if (!is_from_scanner(*info))
    compat::call_handler(StatementCancelHandler, signal, info);
  else if (accepts_signal())
    compat::call_handler(accepted_action == Action::kTerminate ? die : StatementCancelHandler, signal, info);
  errno = saved_errno;
}

}  // namespace

ActiveAction active_action;

void install_signal_handler() {
  struct sigaction action {};
  action.sa_sigaction = handle_sigint;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  (void)sigaction(SIGINT, &action, nullptr);
}

void begin_transaction_end() {
  active_action.is_ending = true;
  if (active_action.accepted_nonce == 0) return;
  // The action came too late: the commit goes on. A terminate would end its wait for a standby.
  if (accepted_action == Action::kTerminate) {
    active_action.is_terminate_due = ProcDiePending;
    ProcDiePending = false;
  } else if (!is_own_timeout()) {
    QueryCancelPending = false;
  }
  active_action.accepted_nonce = 0;
}

const ActionReason* finish_transaction_end(bool has_rolled_back) {
  active_action.is_touched = false;
  const std::uint32_t nonce = static_cast<std::uint32_t>(active_action.accepted_nonce);
  const bool is_pending = QueryCancelPending;
  if (nonce != 0 && is_pending && !is_own_timeout()) QueryCancelPending = false;
  active_action.accepted_nonce = 0;
  active_action.is_ending = false;
  if (active_action.is_terminate_due) InterruptPending = ProcDiePending = true;
  active_action.is_terminate_due = false;
  if (nonce == 0 || !has_rolled_back || is_pending) return nullptr;
  my_slot->action.reply(nonce, Reply::kDone);
  return &accepted_reason;
}

void forget_ignored_cancel() {
  if (!QueryCancelPending) active_action.accepted_nonce = 0;
}

}  // namespace pgleak
