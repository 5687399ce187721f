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
#include "libpq/pqsignal.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// Set from the moment a transaction begins to commit, or has rolled back, until it has ended.
volatile sig_atomic_t is_ending = false;

// The nonce of the request that the handler accepted for the transaction that runs; 0: none. Written by the
// handler.
volatile sig_atomic_t accepted_nonce = 0;

// Time-outs of the server's own come as SIGINT too, which the process sends to itself.
bool is_own_timeout() {
  return get_timeout_indicator(STATEMENT_TIMEOUT, false) || get_timeout_indicator(LOCK_TIMEOUT, false);
}

// Other transactions depend on one that has exported its snapshot. Only limits spare it.
bool is_spared(const ArmedSignal& armed) {
  ActionRequest request;
  if (!my_slot->action.request.read(&request) || request.nonce != armed.nonce) return true;
  return request.spares_exported && XactHasExportedSnapshots();
}

bool is_meant(const ArmedSignal& armed) {
  return !is_ending && IsTransactionState() && my_slot->backend.report().ended_count == armed.xact_seq &&
         !is_spared(armed);
}

// The scanner sends one signal for each nonce, so one that comes after the answer is somebody else's.
bool is_answered(const ArmedSignal& armed) { return my_slot->action.reply_to(armed.nonce) != Reply::kNone; }

void handle_sigint(SIGNAL_ARGS) {
  const int saved_errno = errno;
  const ArmedSignal armed = my_slot->action.armed_signal();
  if (armed.nonce == 0 || is_own_timeout() || is_answered(armed)) {
    StatementCancelHandler(PGLEAK_PASS_SIGNAL);
  } else if (!is_meant(armed)) {
    my_slot->action.reply(armed.nonce, Reply::kRefused);
  } else {
    accepted_nonce = static_cast<sig_atomic_t>(armed.nonce);
    my_slot->action.reply(armed.nonce, Reply::kActing);
    if (armed.action == Action::kTerminate)
      die(PGLEAK_PASS_SIGNAL);
    else
      StatementCancelHandler(PGLEAK_PASS_SIGNAL);
  }
  errno = saved_errno;
}

}  // namespace

void install_signal_handler() { pqsignal(SIGINT, handle_sigint); }

void begin_transaction_end() {
  is_ending = true;
  if (accepted_nonce == 0) return;
  // Too late: the commit goes on. A time-out that came at the same moment stays pending.
  if (!is_own_timeout()) QueryCancelPending = false;
  accepted_nonce = 0;
}

std::uint32_t finish_transaction_end(bool has_rolled_back) {
  const std::uint32_t nonce = static_cast<std::uint32_t>(accepted_nonce);
  const bool is_pending = QueryCancelPending;
  if (nonce != 0 && is_pending && !is_own_timeout()) QueryCancelPending = false;
  accepted_nonce = 0;
  is_ending = false;
  return has_rolled_back && !is_pending ? nonce : 0;
}

}  // namespace pgleak
