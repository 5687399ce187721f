#include "backend/backend.hpp"
#include "core/action.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"

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

// The hint names the setting or the rule that demanded the action; a manual action has neither.
int hint_retry(const ActionReason& reason) {
  switch (reason.source.kind) {
    case LimitSource::kManual:
      return errhint("Retry the whole transaction.");
    case LimitSource::kRule:
      return errhint(
          "Retry the whole transaction. Avoid idle time before COMMIT, or raise the limit in rule %d of "
          "pgleak.rules.",
          reason.source.rule_id);
    default:
      return errhint("Retry the whole transaction. Avoid idle time before COMMIT, or raise \"%s\".",
                     limit_setting_name(limit_index(reason.clock, LimitKind::kCancel)));
  }
}

// The server would answer COMMIT in an aborted block with the tag ROLLBACK. No driver checks that tag, so the
// application would believe that its rows were saved.
void refuse_commit(const CancelledBlock& block) {
  char why[kReasonSize];
  describe_reason(block.reason, why);
  // End the block before raising. Otherwise the session would stay in it, and a pool that answers a failed
  // COMMIT by taking the connection back would hand out a connection in an aborted block.
  UserAbortTransactionBlock(false);
  ereport(ERROR,
          (errcode(ERRCODE_TRANSACTION_ROLLBACK), errmsg("transaction was rolled back by pgleak: %s", why),
           errdetail("The transaction was rolled back at %s; none of its changes were committed.",
                     timestamptz_to_str(to_timestamp(block.at))),
           hint_retry(block.reason)));
}

}  // namespace

void guard_commit(const PlannedStmt* statement) {
  if (!wants_to_commit(statement)) return;
  const CancelledBlock* block = current_cancelled_block();
  if (block != nullptr) refuse_commit(*block);
}

}  // namespace pgleak
