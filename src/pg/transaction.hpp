// Runs a piece of a background worker's work in one transaction and survives its errors; and tells cheaply
// whether any table can have changed since the last check.
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

// Runs body() in a transaction of its own and commits it. Returns nullptr on success. If anything raises an
// ERROR, or the body runs longer than `timeout_ms`, rolls back and returns a copy of the error in `context`,
// which the caller resets. Call it outside any transaction. A FATAL ends the process as always.
//
// A function that takes the body, not an RAII object: an ERROR is a longjmp, which runs no destructors.
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

// ChangeWatch::may_have_changed() for tables and catalogs: it counts finished transactions that wrote
// something. The server sends the invalidation messages for changed catalogs a moment later. Always true on a
// standby. Reads shared memory only, never ereports.
inline bool may_have_changed(ChangeWatch* watch, MonotonicTime now) {
  return watch->may_have_changed(compat::ended_transactions(), now) || RecoveryInProgress();
}

}  // namespace pgleak

#endif
