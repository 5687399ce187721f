#include "core/session.hpp"

namespace pgleak {

const char* to_string(SessionState state) {
  switch (state) {
    case SessionState::kUnknown:
      return nullptr;
    case SessionState::kIdle:
      return "idle";
    case SessionState::kActive:
      return "active";
    case SessionState::kFastpath:
      return "fastpath function call";
    case SessionState::kIdleInTransaction:
      return "idle in transaction";
    case SessionState::kIdleInTransactionAborted:
      return "idle in transaction (aborted)";
  }
  return nullptr;
}

Block current_block(const SessionSample& sample) {
  if (sample.xact_start != 0 && (is_active(sample.state) || is_idle_in_transaction(sample.state)))
    return Block{true, sample.ended_count, sample.xact_start};

  // No transaction, yet a block: aborted, or running the statement that ends it or is refused.
  // (A session just starting a transaction looks the same for an instant; its generation then names
  // the transaction before, which nobody asks about unless it is an open episode: see judge_open.)
  if (sample.last_end == TransactionEnd::kRolledBack && sample.ended_count > 0 &&
      (sample.state == SessionState::kIdleInTransactionAborted || is_active(sample.state)))
    return Block{true, sample.ended_count - 1, sample.last_aborted_start};

  return Block{false, 0, 0};
}

}  // namespace pgleak
