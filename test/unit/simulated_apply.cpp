// How the simulated scanner carries a decision out; as scanner/apply and scanner/actions do.
#include "simulated_scanner.hpp"

namespace pgleak {

void SimulatedScanner::apply(int slot, const SessionSnapshot& snapshot, const Decision& decision,
                             Scan* scan) {
  if (decision.clocks) record(slot).clocks = *decision.clocks;
  if (decision.next_due_in < scan->next_due_in) scan->next_due_in = decision.next_due_in;
  // The request has been withdrawn: nothing has begun, and nothing has failed.
  if (decision.is_manual && !take_manual_request(slot)) return;
  switch (decision.episode) {
    case Decision::EpisodeStep::kNone:
      break;
    case Decision::EpisodeStep::kOpen:
      open_episode(slot, snapshot, decision);
      break;
    case Decision::EpisodeStep::kKeep:
      record(slot).episode.progress = decision.progress;
      break;
    case Decision::EpisodeStep::kClose:
      close_episode(slot, decision.outcome);
      break;
  }
  apply_action(slot, snapshot, decision);
}

void SimulatedScanner::open_episode(int slot, const SessionSnapshot& snapshot, const Decision& decision) {
  const SessionStatus& status = snapshot.status;
  if (!session(slot).backend.watch(current_seq(status))) return;  // it has ended by now
  Episode& episode = record(slot).episode;
  episode = Episode{};
  episode.leak_id = ++last_leak_id_;
  episode.session = status.id;
  episode.xact_seq = current_seq(status);
  episode.is_session_level = decision.is_session_level;
  episode.xact_start = decision.block.xact_start;
  episode.detected_at = snapshot.now.wall;
  episode.detected_mono = snapshot.now.monotonic;
  episode.leak_after = decision.detection.limit;
  episode.clock = decision.detection.clock;
  episode.limit_source = decision.detection.source;
  episode.state = status.state;
  episode.progress.last_state = status.state;
  episode.progress.longest_idle = decision.ages.idle;
  episode.progress.transaction_age = decision.ages.transaction;
  episode.progress.worst = decision.impact;
  record(slot).is_open = true;
  witness_.opened(slot, episode);
}

void SimulatedScanner::close_episode(int slot, Outcome outcome) {
  witness_.closes(record(slot).is_open);
  if (!record(slot).is_open) return;
  record(slot).is_open = false;
  if (record(slot).episode.is_session_level)
    witness_.closed_session_level(slot, session(slot), record(slot).episode, outcome);
  else
    witness_.closed(session(slot).transaction(record(slot).episode.xact_seq), record(slot).episode, outcome);
  drop_request(slot);
  answer_manual_request(slot, ActionResult::kSkipped);
}

void SimulatedScanner::apply_action(int slot, const SessionSnapshot& snapshot, const Decision& decision) {
  if (decision.manual_answer && take_manual_request(slot))
    answer_manual_request(slot, *decision.manual_answer);
  if (decision.finished) report_result(slot);
  switch (decision.step) {
    case Decision::ActionStep::kNone:
      break;
    case Decision::ActionStep::kBegin:
      begin(slot, snapshot, decision);
      break;
    case Decision::ActionStep::kDryRun:
      record_evidence(slot, decision);
      break;
    case Decision::ActionStep::kSend:
      send_request(slot, snapshot.now);
      break;
    case Decision::ActionStep::kTerminate:
      record(slot).action.has_sigterm = true;
      if (send_terminate(slot))
        record(slot).episode.progress.terminate_sent = true;
      else if (snapshot.reply != Reply::kActing)
        finish(slot, ActionResult::kSkipped, snapshot.now);
      break;
  }
}

void SimulatedScanner::begin(int slot, const SessionSnapshot& snapshot, const Decision& decision) {
  record_evidence(slot, decision);
  const Episode& episode = record(slot).episode;
  if (episode.is_session_level) session(slot).backend.watch(current_seq(snapshot.status));
  session(slot).action.request.write([&](ActionRequest* request) {
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
  let_sessions_go_on();
  const bool is_signal = is_active(snapshot.status.state);
  record(slot).action = RunningAction{
      decision.action, is_signal, snapshot.status.state_start, false, snapshot.now.monotonic, 0, Handshake{}};
  if (is_signal)
    signal_active(slot, snapshot.now);
  else
    send_request(slot, snapshot.now);
}

// The evidence says what the record says, not the decision.
void SimulatedScanner::record_evidence(int slot, const Decision& decision) {
  const Episode& episode = record(slot).episode;
  witness_.noted_evidence(episode, decision);
  if (!is_reported(episode.progress)) return;
  machine_.log.push_back(
      LogEntry{LogEntry::Kind::kEvidence, episode.progress.action.last, episode.leak_id, true});
}

void SimulatedScanner::send_request(int slot, Now now) {
  RunningAction& action = record(slot).action;
  SimulatedSession& target = session(slot);
  const std::uint32_t probed = action.handshake.attempts > 0 ? action.nonce : 0;
  const MonotonicTime began = action.handshake.attempts > 0 ? action.handshake.started_at : now.monotonic;
  action.nonce = ++last_nonce_;
  target.action.request.write([&action, probed, began](ActionRequest* request) {
    request->nonce = action.nonce;
    request->probed = probed;
    request->expires_at = began + kHandshakeTimeout;
  });
  note_sent(&action.handshake, now.monotonic);
  if (target.is_meant(target.action.request.current()))
    target.send_message(action.nonce);
  else
    finish(slot, ActionResult::kSkipped, now);
}

void SimulatedScanner::signal_active(int slot, Now now) {
  RunningAction& action = record(slot).action;
  ActionSlot& channel = session(slot).action;
  action.nonce = ++last_nonce_;
  channel.request.write([&action](ActionRequest* request) { request->nonce = action.nonce; });
  const ActionRequest request = channel.request.current();
  channel.arm_signal(ArmedSignal{action.nonce, request.action, request.spares_exported, request.xact_seq});
  if (!may_signal(slot)) {
    finish(slot, ActionResult::kSkipped, now);
    return;
  }
  // Between the check and the signal the session may end its transaction and begin another.
  let_sessions_go_on();
  if (machine_.random.chance(30)) session(slot).hurry(1 + machine_.random.below(5));
  if (!session(slot).is_meant(request)) machine_.coverage.add("signal: moved on between check and signal");
  session(slot).send_interrupt(request);
}

bool SimulatedScanner::may_signal(int slot) {
  const SimulatedSession& target = session(slot);
  witness_.tried_signal(record(slot).is_open);
  return target.is_meant(target.action.request.current()) && !target.waits_for_standby();
}

bool SimulatedScanner::send_terminate(int slot) {
  if (!may_signal(slot)) return false;
  SimulatedSession& target = session(slot);
  machine_.log.push_back(
      LogEntry{LogEntry::Kind::kDeed, Action::kTerminate, record(slot).episode.leak_id, true});
  target.send_terminate();
  return true;
}

void SimulatedScanner::finish(int slot, ActionResult result, Now now) {
  EpisodeProgress& progress = record(slot).episode.progress;
  record_result(&progress, progress.action.last, result, now);
  report_result(slot);
}

void SimulatedScanner::report_result(int slot) {
  drop_request(slot);
  witness_.finished(record(slot).is_open, record(slot).episode);
  answer_manual_request(slot, record(slot).episode.progress.action.result);
}

void SimulatedScanner::drop_request(int slot) {
  if (record(slot).action.action == Action::kNone) return;
  record(slot).action.action = Action::kNone;
  session(slot).action.disarm_signal();
  session(slot).action.request.write([](ActionRequest* request) { request->nonce = 0; });
}

bool SimulatedScanner::take_manual_request(int slot) {
  ManualRequest& manual = session(slot).manual;
  const bool is_asked = manual.phase == ManualRequest::Phase::kAsked;
  if (is_asked) manual.phase = ManualRequest::Phase::kTaken;
  return is_asked;
}

void SimulatedScanner::answer_manual_request(int slot, ActionResult result) {
  ManualRequest& manual = session(slot).manual;
  if (manual.phase != ManualRequest::Phase::kTaken) return;
  manual.phase = ManualRequest::Phase::kFree;
  witness_.answered(manual.request_id, result);
}

}  // namespace pgleak
