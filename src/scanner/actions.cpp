#include "scanner/actions.hpp"

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "scanner/leak_log.hpp"
#include "shmem/event_queue.hpp"

namespace pgleak {

namespace {

// Never 0, and repeated only after four billion calls.
std::uint32_t next_nonce() {
  const std::uint32_t nonce = shared->last_nonce.fetch_add(1) + 1;
  return nonce != 0 ? nonce : shared->last_nonce.fetch_add(1) + 1;
}

Judged judged_of(const ActionRequest& request) {
  return Judged{request.session, request.xact_seq, request.state_start};
}

void count_result(Action action, ActionResult result) {
  Counters& counters = shared->counters;
  if (result == ActionResult::kDone)
    (action == Action::kCancel ? counters.cancels : counters.terminates)++;
  else if (result == ActionResult::kSkipped)
    counters.skipped++;
  else if (has_failed(result))
    counters.cancels_failed++;
}

// Answers the caller, if the action was requested manually.
void answer_manual_request(TrackedSession session, ActionResult result) {
  ManualRequest& request = session.manual_request();
  if (request.phase != ManualRequest::Phase::kTaken) return;
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  enter_phase(&request, ManualRequest::Phase::kFree);
  shared->manual_answers[request.request_id % kManualAnswers] = ManualAnswer{request.request_id, result};
  LWLockRelease(shared->manual_lock);
  ConditionVariableBroadcast(&shared->manual_answered);
}

void drop_request(TrackedSession session) {
  if (session.running_action().action == Action::kNone) return;
  session.running_action().action = Action::kNone;
  session.action_slot().disarm_signal();
  session.action_slot().request.write([](ActionRequest* request) { request->nonce = 0; });
}

void write_progress(TrackedSession session, const EpisodeProgress& progress) {
  session.update([&progress](SessionRecord* record) { record->episode.progress = progress; });
}

// Logs the result of the finished action and queues the event.
void report_result(TrackedSession session) {
  const Episode& episode = session.record().episode;
  const ActionState& state = episode.progress.action;
  drop_request(session);
  count_result(state.last, state.result);
  answer_manual_request(session, state.result);
  if (!is_reported(episode.progress)) return;
  log_action_result(episode, state.last, state.result);
  queue_event(EventKind::kActed, session.index(), episode, "");
}

void finish(TrackedSession session, ActionResult result, Now now) {
  EpisodeProgress progress = session.record().episode.progress;
  record_result(&progress, progress.action.last, result, now);
  write_progress(session, progress);
  report_result(session);
}

// Sends the request again under a new nonce. The session was seen asleep after the previous message.
void send_request(TrackedSession session, Now now) {
  RunningAction& action = session.running_action();
  const std::uint32_t probed = action.handshake.attempts > 0 ? action.nonce : 0;
  // All messages expire when the handshake is given up: none may be obeyed after that.
  const MonotonicTime began = action.handshake.attempts > 0 ? action.handshake.started_at : now.monotonic;
  action.nonce = next_nonce();
  session.action_slot().request.write([&action, probed, began](ActionRequest* request) {
    request->nonce = action.nonce;
    request->probed = probed;
    request->expires_at = began + kHandshakeTimeout;
  });
  note_sent(&action.handshake, now.monotonic);
  const ActionRequest& request = session.action_slot().request.current();
  if (!send_message(session, judged_of(request), action.nonce)) finish(session, ActionResult::kSkipped, now);
}

// Signals an active session, whose handler checks once more which transaction the signal is for.
void signal_active(TrackedSession session, const Decision& decision, Now now) {
  RunningAction& action = session.running_action();
  action.nonce = next_nonce();
  session.action_slot().request.write([&action](ActionRequest* request) { request->nonce = action.nonce; });
  const ActionRequest& request = session.action_slot().request.current();
  session.action_slot().arm_signal(
      ArmedSignal{action.nonce, decision.action, decision.spares_exported, request.xact_seq});
  if (!send_interrupt(session, judged_of(request))) finish(session, ActionResult::kSkipped, now);
}

// Sends SIGTERM to a session that was asked to end its connection and has not. One that has accepted is on
// its way out, even if it no longer shows the state that was judged.
void follow_with_sigterm(TrackedSession session, const SessionSnapshot& snapshot) {
  session.running_action().has_sigterm = true;
  if (send_terminate(session, judged_of(session.action_slot().request.current())))
    session.update([](SessionRecord* record) { record->episode.progress.terminate_sent = true; });
  else if (snapshot.reply != Reply::kActing)
    finish(session, ActionResult::kSkipped, snapshot.now);
}

// Writes the log line and queues the event before anything reaches the session.
void record_evidence(TrackedSession session, const Decision& decision) {
  const SessionRecord& record = session.record();
  if (!is_reported(record.episode.progress)) return;
  const bool is_dry = decision.step == Decision::ActionStep::kDryRun;
  log_action(record.episode, record.impact, decision.action, decision.reason, is_dry);
  queue_event(EventKind::kActed, session.index(), record.episode, "");
}

void begin(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision) {
  record_evidence(session, decision);
  const Episode& episode = session.record().episode;
  session.action_slot().request.write([&](ActionRequest* request) {
    *request = ActionRequest{0,
                             0,
                             decision.action,
                             episode.session,
                             current_seq(snapshot.status),
                             snapshot.status.state_start,
                             MonotonicTime::none(),
                             decision.spares_exported,
                             decision.reason};
  });
  const bool is_signal = is_active(snapshot.status.state);
  session.running_action() = RunningAction{
      decision.action, is_signal, snapshot.status.state_start, false, snapshot.now.monotonic, 0, Handshake{}};
  if (is_signal) {
    signal_active(session, decision, snapshot.now);
    return;
  }
  send_request(session, snapshot.now);
}

void warn_about_rate() {
  ereport(WARNING,
          (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
           errmsg("pgleak: more than %d actions within one minute, suspending actions for one minute",
                  settings.max_actions_per_minute),
           errhint("Find the cause of the leaks, or raise \"pgleak.max_actions_per_minute\".")));
}

void warn_about_rules() {
  ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("pgleak: pgleak.rules is not loaded, applying limits without rules"),
                    errhint("Check the server log for errors of the pgleak recorder.")));
}

}  // namespace

void apply_action(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision) {
  if (decision.manual_answer && session.take_manual_request(snapshot.manual->request_id))
    answer_manual_request(session, *decision.manual_answer);
  if (decision.episode == Decision::EpisodeStep::kClose) {
    drop_request(session);
    answer_manual_request(session, ActionResult::kSkipped);
  }
  if (decision.warns_about_rules) warn_about_rules();
  if (decision.warns_about_rate) warn_about_rate();
  if (decision.finished) report_result(session);
  switch (decision.step) {
    case Decision::ActionStep::kNone:
      break;
    case Decision::ActionStep::kBegin:
      begin(session, snapshot, decision);
      break;
    case Decision::ActionStep::kDryRun:
      record_evidence(session, decision);
      break;
    case Decision::ActionStep::kSend:
      send_request(session, snapshot.now);
      break;
    case Decision::ActionStep::kTerminate:
      follow_with_sigterm(session, snapshot);
      break;
  }
}

}  // namespace pgleak
