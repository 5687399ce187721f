// The target's side of an action on an active session: the scanner arms a request in the slot and sends
// SIGINT; this handler decides, in the target itself, whether the signal still concerns the transaction that
// runs.
//
// Why a handler: a signal that the scanner sends carries no identity, and between its last check and the
// delivery the target may have committed and begun a transaction that nobody judged. A commit that has begun
// is let go, above all one that waits for a synchronous standby: there a cancel makes the server report a
// commit that no standby has. What the handler accepted and the server has not acted on by the end of the
// transaction is withdrawn then.
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

// Set from the moment a transaction begins to commit, or has rolled back, until it has ended.
volatile sig_atomic_t is_ending = false;

// A time-out of the server's own that came at the same moment stays pending.
bool is_own_timeout() {
  return get_timeout_indicator(STATEMENT_TIMEOUT, false) || get_timeout_indicator(LOCK_TIMEOUT, false);
}

// The nonce of the request that the handler accepted for the transaction that runs; 0: none. Written by the
// handler.
volatile sig_atomic_t accepted_nonce = 0;

// Its reason, copied then: the scanner may give the request up before it has its effect.
ActionReason accepted_reason;

bool is_meant(const ArmedSignal& armed) {
  if (spares(armed.spares_exported)) return false;
  return !is_ending && IsTransactionState() && my_slot->backend.report().ended_count == armed.xact_seq;
}

// A request that is given up, answered, or not for this transaction is left alone.
bool accepts_signal() {
  const ArmedSignal armed = my_slot->action.armed_signal();
  ActionRequest request;
  if (armed.nonce == 0 || my_slot->action.reply_to(armed.nonce) != Reply::kNone) return false;
  if (!my_slot->action.request.read(&request) || request.nonce != armed.nonce || !is_meant(armed)) {
    my_slot->action.reply(armed.nonce, Reply::kRefused);
    return false;
  }
  accepted_nonce = static_cast<sig_atomic_t>(armed.nonce);
  accepted_reason = request.reason;
  my_slot->action.reply(armed.nonce, Reply::kActing);
  return true;
}

// Who sent the signal decides: what comes from anybody but the scanner, also a time-out of this session's
// own, is the server's business.
void handle_sigint(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const bool is_scanners =
      info->si_code == SI_USER && info->si_pid == shared->scanner_pid.load(std::memory_order_relaxed);
  if (!is_scanners)
    compat::call_handler(StatementCancelHandler, signal, info);
  else if (accepts_signal())
    compat::call_handler(
        my_slot->action.armed_signal().action == Action::kTerminate ? die : StatementCancelHandler, signal,
        info);
  errno = saved_errno;
}

}  // namespace

void install_signal_handler() {
  struct sigaction action {};
  action.sa_sigaction = handle_sigint;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  (void)sigaction(SIGINT, &action, nullptr);
}

void begin_transaction_end() {
  is_ending = true;
  if (accepted_nonce == 0) return;
  // Too late: the commit goes on.
  if (!is_own_timeout()) QueryCancelPending = false;
  accepted_nonce = 0;
}

const ActionReason* finish_transaction_end(bool has_rolled_back) {
  const std::uint32_t nonce = static_cast<std::uint32_t>(accepted_nonce);
  const bool is_pending = QueryCancelPending;
  if (nonce != 0 && is_pending && !is_own_timeout()) QueryCancelPending = false;
  accepted_nonce = 0;
  is_ending = false;
  if (nonce == 0 || !has_rolled_back || is_pending) return nullptr;
  my_slot->action.reply(nonce, Reply::kDone);
  return &accepted_reason;
}

void forget_ignored_cancel() {
  if (!QueryCancelPending) accepted_nonce = 0;
}

bool has_accepted_cancel() { return accepted_nonce != 0; }

}  // namespace pgleak
