#include "core/episode.hpp"

namespace pgleak {

const char* to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::kNone:
      return nullptr;
    case Outcome::kCommitted:
      return "committed";
    case Outcome::kRolledBack:
      return "rolled back";
    case Outcome::kPrepared:
      return "prepared";
    case Outcome::kDisconnected:
      return "disconnected";
  }
  return nullptr;
}

Outcome judge_open(const Episode& episode, const BackendTrace& trace, TransactionEnd watched_end) {
  switch (watched_end) {
    case TransactionEnd::kCommitted:
      return Outcome::kCommitted;
    case TransactionEnd::kPrepared:
      return Outcome::kPrepared;
    case TransactionEnd::kDisconnected:
      return Outcome::kDisconnected;
    case TransactionEnd::kRolledBack: {
      // An error rolls the transaction back but leaves the client in its block: the connection is as
      // leaked as before, so the episode goes on until the block is gone.
      if (!trace.is_present)
        return trace.last_state == SessionState::kIdleInTransactionAborted ? Outcome::kDisconnected
                                                                           : Outcome::kRolledBack;
      const Block block = current_block(trace.sample);
      const bool still_in_block = block.exists && block.generation == episode.generation;
      return still_in_block ? Outcome::kNone : Outcome::kRolledBack;
    }
    case TransactionEnd::kNone:
      break;
  }
  return trace.is_present ? Outcome::kNone : Outcome::kDisconnected;
}

}  // namespace pgleak
