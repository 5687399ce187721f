// Owns: running a piece of a background worker's work in one transaction and surviving its errors.
// Called by the recorder, outside of any transaction.
// Owns: knowing that nothing in any table can have changed, without looking into one. Called by the recorder,
// which would look every few seconds. Reads shared memory only, never ereports.
#ifndef PGLEAK_PG_TRANSACTION_HPP
#define PGLEAK_PG_TRANSACTION_HPP

#include "core/change_watch.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/xact.h"
#include "access/xlog.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
}

namespace pgleak {

// Runs body() in a transaction of its own and commits it. Returns nullptr, or if anything raised an ERROR (a
// body that runs longer than `timeout_ms` included) rolls back and returns a copy of the error in
// `context`, which the caller resets. A FATAL ends the process as always.
//
// A scope function and no RAII object: an ERROR is a longjmp, which runs no destructors.
template <typename Body>
ErrorData* run_in_transaction(MemoryContext context, int timeout_ms, Body body) {
  static_assert(std::is_trivially_destructible<Body>::value, "an ERROR would skip its destructor");
  ErrorData* volatile error = nullptr;
  Assert(MyBackendType == B_BG_WORKER && !IsTransactionState());

  PG_TRY();
  {
    SetCurrentStatementStartTimestamp();
    StartTransactionCommand();
    enable_timeout_after(STATEMENT_TIMEOUT, timeout_ms);
    body();
    disable_timeout(STATEMENT_TIMEOUT, false);
    CommitTransactionCommand();
  }
  PG_CATCH();
  {
    disable_timeout(STATEMENT_TIMEOUT, false);
    HOLD_INTERRUPTS();
    MemoryContextSwitchTo(context);
    error = CopyErrorData();
    FlushErrorState();
    AbortOutOfAnyTransaction();
    QueryCancelPending = false;
    RESUME_INTERRUPTS();
  }
  PG_END_TRY();

  MemoryContextSwitchTo(context);
  return error;
}

// ChangeWatch::may_have_changed for changes of tables and catalogs: what is counted are transactions that
// have written something and are over. The server tells of changed catalogs a moment after that. On a standby
// it is always true.
inline bool may_have_changed(ChangeWatch* watch, MonotonicTime now) {
  return watch->may_have_changed(compat::ended_transactions(), now) || RecoveryInProgress();
}

}  // namespace pgleak

#endif
