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

TransactionBlock current_block(const SessionStatus& status) {
  // A backend that exits keeps showing the state, and for a while the transaction, in which its client left.
  if (status.last_end == TransactionEnd::kDisconnected) return kNoBlock;

  const bool is_aborted = status.state == SessionState::kIdleInTransactionAborted;
  const bool has_rolled_back = status.last_end == TransactionEnd::kRolledBack && status.ended_count > 0;

  if (is_active(status.state)) {
    // A transaction that has just ended is still visible for a moment. Only an error leaves a block behind.
    const bool is_ending = status.xact_start.is_set() && status.last_end != TransactionEnd::kNone &&
                           status.xact_start == status.last_end_start;
    if (is_ending && !has_rolled_back) return kNoBlock;
    if (is_ending) return TransactionBlock{true, status.ended_count - 1, status.xact_start};
    if (!status.xact_start.is_set() && has_rolled_back)
      return TransactionBlock{true, status.ended_count - 1, WallTime::none()};
  }
  if (status.xact_start.is_set() && status.state != SessionState::kUnknown)
    return TransactionBlock{true, status.ended_count, status.xact_start};
  if (is_aborted && has_rolled_back)
    return TransactionBlock{true, status.ended_count - 1, status.last_end_start};
  if (status.is_delivering && status.state == SessionState::kIdle)
    return TransactionBlock{true, status.ended_count, WallTime::none()};
  return kNoBlock;
}

}  // namespace pgleak
