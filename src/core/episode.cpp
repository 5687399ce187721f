#include "core/episode.hpp"

namespace pgleak {

const char* to_string(HolderKind kind) {
  switch (kind) {
    case HolderKind::kSession:
      return "session";
    case HolderKind::kPreparedTransaction:
      return "prepared transaction";
  }
  return "";
}

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
    case Outcome::kCancelled:
      return "cancelled";
    case Outcome::kTerminated:
      return "terminated";
    case Outcome::kReleased:
      return "released";
    case Outcome::kUnknown:
      return "unknown";
  }
  return nullptr;
}

namespace {

// How long to wait before repeating a terminate that has not taken effect, or a cancel of a query: the
// session may have caught the error in a savepoint.
constexpr Micros kRepeatTerminateAfter = 10 * kSecond;
constexpr Micros kRepeatCancelAfter = kSecond;

Outcome judge_by_locks(const BackendTrace& trace, TransactionEnd watched_end) {
  if (!trace.is_present || watched_end == TransactionEnd::kDisconnected) return Outcome::kDisconnected;
  return trace.blocks_others ? Outcome::kNone : Outcome::kReleased;
}

// The outcome as far as the session itself shows it.
Outcome judge_by_session(const Episode& episode, const BackendTrace& trace, TransactionEnd watched_end) {
  switch (watched_end) {
    case TransactionEnd::kCommitted:
      // The transactions in which an idle session delivers notifications are the server's own.
      return episode.state == SessionState::kIdle ? Outcome::kReleased : Outcome::kCommitted;
    case TransactionEnd::kPrepared:
      return Outcome::kPrepared;
    case TransactionEnd::kDisconnected:
      return Outcome::kDisconnected;
    case TransactionEnd::kRolledBack: {
      // An error rolls the transaction back but leaves the client in its block. The connection is as leaked
      // as before, so the episode goes on until the block is gone.
      const bool is_leaving = !trace.is_present || trace.status.last_end == TransactionEnd::kDisconnected;
      const SessionState last_state = trace.is_present ? trace.status.state : trace.last_state;
      if (is_leaving)
        return last_state == SessionState::kIdleInTransactionAborted ? Outcome::kDisconnected
                                                                     : Outcome::kRolledBack;
      // The client has been silent since: a transaction that is visible now belongs to the server's own
      // cleanup at exit.
      if (last_state == SessionState::kIdleInTransactionAborted &&
          trace.status.state_start == episode.progress.aborted_since)
        return Outcome::kNone;
      const TransactionBlock block = current_block(trace.status);
      const bool still_in_block = block.exists && block.xact_seq == episode.xact_seq;
      return still_in_block ? Outcome::kNone : Outcome::kRolledBack;
    }
    case TransactionEnd::kNone:
      break;
  }
  if (!trace.is_present) return Outcome::kDisconnected;
  // Its client reads its notifications again.
  const bool is_free = trace.status.state == SessionState::kIdle && !current_block(trace.status).exists;
  return is_free ? Outcome::kReleased : Outcome::kNone;
}

}  // namespace

Outcome judge_open(const Episode& episode, const BackendTrace& trace, TransactionEnd watched_end) {
  const Outcome outcome = episode.is_session_level ? judge_by_locks(trace, watched_end)
                                                   : judge_by_session(episode, trace, watched_end);
  switch (outcome) {
    case Outcome::kDisconnected:
      if (episode.progress.terminate_sent) return Outcome::kTerminated;
      return outcome_so_far(episode) == Outcome::kCancelled ? Outcome::kCancelled : outcome;
    case Outcome::kRolledBack:
      return episode.progress.is_cancelled ? Outcome::kCancelled : outcome;
    default:
      return outcome;
  }
}

void record_result(EpisodeProgress* progress, Action action, ActionResult result, Now now) {
  ActionState& state = progress->action;
  if (state.last != action) state.failures = 0;
  state.last = action;
  state.result = result;
  state.still_blocks = 0;  // of a cancel before it
  state.has_logged_blocks = false;
  state.at = now.wall;
  if (has_failed(result) && state.failures < UINT8_MAX) state.failures++;
  const Micros repeat_after = action == Action::kCancel ? kRepeatCancelAfter : kRepeatTerminateAfter;
  const Micros pause = result == ActionResult::kDone ? repeat_after : retry_pause(result, state.failures);
  state.retry_at = now.monotonic + pause;
  if (result == ActionResult::kDone && action == Action::kCancel) progress->is_cancelled = true;
  if (result == ActionResult::kDone && action == Action::kTerminate) progress->terminate_sent = true;
}

bool is_reported(const EpisodeProgress& progress) {
  const ActionState& action = progress.action;
  const int earlier_failures = action.failures - has_failed(action.result);
  return action.result == ActionResult::kDone || earlier_failures == 0;
}

}  // namespace pgleak
