#include "core/session.hpp"

namespace pgleak {

namespace {

constexpr TransactionBlock kNoBlock{false, 0, WallTime::none()};

}  // namespace

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

TransactionBlock current_block(const SessionStatus& sample) {
  // A backend that exits goes on to show the state, and for a while the transaction, that its client left.
  if (sample.last_end == TransactionEnd::kDisconnected) return kNoBlock;

  const bool is_aborted = sample.state == SessionState::kIdleInTransactionAborted;
  const bool has_rolled_back = sample.last_end == TransactionEnd::kRolledBack && sample.ended_count > 0;

  if (is_active(sample.state)) {
    // For a moment a transaction that has ended is still shown. Only an error leaves a block behind.
    const bool is_ending = sample.xact_start.is_set() && sample.last_end != TransactionEnd::kNone &&
                           sample.xact_start == sample.last_end_start;
    if (is_ending && !has_rolled_back) return kNoBlock;
    if (is_ending) return TransactionBlock{true, sample.ended_count - 1, sample.xact_start};
    if (!sample.xact_start.is_set() && has_rolled_back)
      return TransactionBlock{true, sample.ended_count - 1, WallTime::none()};
  }
  if (sample.xact_start.is_set() && (is_active(sample.state) || is_idle_in_transaction(sample.state)))
    return TransactionBlock{true, sample.ended_count, sample.xact_start};
  if (is_aborted && has_rolled_back)
    return TransactionBlock{true, sample.ended_count - 1, sample.last_end_start};
  return kNoBlock;
}

}  // namespace pgleak
