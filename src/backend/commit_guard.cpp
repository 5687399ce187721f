#include "backend/backend.hpp"
#include "core/action.hpp"
#include "pg/clock.hpp"

extern "C" {
#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

bool wants_to_commit(const PlannedStmt* statement) {
  if (!IsA(statement->utilityStmt, TransactionStmt)) return false;
  const TransactionStmtKind kind = reinterpret_cast<TransactionStmt*>(statement->utilityStmt)->kind;
  return kind == TRANS_STMT_COMMIT || kind == TRANS_STMT_PREPARE;
}

// The server would answer the COMMIT of an aborted block with a ROLLBACK tag, which no driver looks at: the
// application would take its rows for saved.
void refuse_commit(const CancelledBlock& block) {
  char why[kReasonSize];
  describe_reason(block.reason, why);
  // End the block first. Without that the error would leave the session in it, and pools that answer a failed
  // COMMIT by giving the connection back would hand it on like that.
  UserAbortTransactionBlock(false);
  ereport(ERROR,
          (errcode(ERRCODE_TRANSACTION_ROLLBACK), errmsg("transaction was rolled back by pgleak: %s", why),
           errdetail("It was rolled back at %s; nothing of it was committed.",
                     timestamptz_to_str(to_timestamp(block.at))),
           errhint("Run the whole transaction again. Commit it without pauses, or have \"%s\" raised.",
                   block.reason.clock == Clock::kIdle ? "pgleak.idle_cancel_after"
                                                      : "pgleak.transaction_cancel_after")));
}

}  // namespace

void guard_commit(const PlannedStmt* statement) {
  if (!wants_to_commit(statement)) return;
  const CancelledBlock* block = current_cancelled_block();
  if (block != nullptr) refuse_commit(*block);
}

}  // namespace pgleak
