#include "core/running_action.hpp"

namespace pgleak {

namespace {

// How long a session may take to end its connection before it gets SIGTERM.
constexpr Micros kGracePeriod = 2 * kSecond;

// How long a session may take to react. One that waits for its client in the middle of a command does not
// react to a cancel at all; any other does at its next check for interrupts.
constexpr Micros kClientWaitTimeout = kSecond;
constexpr Micros kEffectTimeout = 10 * kSecond;

ActionResult check_cancel(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  switch (next_step(snapshot.action.handshake, snapshot.reply, snapshot.wait == SessionWait::kClientRead,
                    snapshot.now.monotonic)) {
    case Step::kWait:
      return ActionResult::kRequested;
    case Step::kSend:
      *step = Decision::ActionStep::kSend;
      return ActionResult::kRequested;
    case Step::kDone:
      return ActionResult::kDone;
    case Step::kRefused:
      return ActionResult::kSkipped;
    case Step::kGiveUp:
      return ActionResult::kUnsafe;
  }
  return ActionResult::kRequested;
}

// The session ends its connection itself, so that its client learns the reason. SIGTERM ends one that cannot
// do so, because it is stuck in the middle of a command. Done means that the session has gone.
ActionResult check_terminate(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  const RunningAction& action = snapshot.action;
  const Micros elapsed = snapshot.now.monotonic - action.started_at;
  const bool has_accepted = snapshot.reply == Reply::kActing || action.has_sigterm;
  if (snapshot.reply == Reply::kRefused) return ActionResult::kSkipped;
  // One that left without having been asked left by itself.
  if (!snapshot.is_present) return has_accepted ? ActionResult::kDone : ActionResult::kSkipped;
  if (elapsed >= kGracePeriod + kEffectTimeout) return ActionResult::kNoEffect;
  if (elapsed >= kGracePeriod && !action.has_sigterm) *step = Decision::ActionStep::kTerminate;
  return ActionResult::kRequested;
}

// The target's handler replies to the signal. Done means that the block or the query has ended because of it.
ActionResult check_signal(const SessionSnapshot& snapshot) {
  const RunningAction& action = snapshot.action;
  const Micros elapsed = snapshot.now.monotonic - action.started_at;
  // kActing: accepted, and not seen to have an effect yet. kDone: it has rolled the transaction back.
  const bool has_accepted = snapshot.reply == Reply::kActing || snapshot.reply == Reply::kDone;
  if (snapshot.reply == Reply::kRefused) return ActionResult::kSkipped;
  // A transaction that committed after all was not cancelled, even if its session has left since.
  if (snapshot.watched_end == TransactionEnd::kCommitted || snapshot.watched_end == TransactionEnd::kPrepared)
    return ActionResult::kSkipped;
  // The client may have left, or rolled it back itself.
  if (!snapshot.is_present || snapshot.watched_end != TransactionEnd::kNone)
    return snapshot.reply == Reply::kDone ? ActionResult::kDone : ActionResult::kSkipped;
  if (snapshot.status.state_start != action.state_start)
    return has_accepted ? ActionResult::kDone : ActionResult::kSkipped;
  if (waits_for_client(snapshot) && elapsed >= kClientWaitTimeout) return ActionResult::kNoEffectOnClientWait;
  return elapsed >= kEffectTimeout ? ActionResult::kNoEffect : ActionResult::kRequested;
}
}  // namespace

ActionResult check_action(const SessionSnapshot& snapshot, Decision::ActionStep* step) {
  if (snapshot.action.action == Action::kTerminate) return check_terminate(snapshot, step);
  return snapshot.action.is_signal ? check_signal(snapshot) : check_cancel(snapshot, step);
}

}  // namespace pgleak
