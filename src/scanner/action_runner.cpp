#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "scanner/actions.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// How long a session may take to answer that it ends its connection, before it gets SIGTERM.
constexpr Micros kGracePeriod = 2 * kSecond;

struct RunningAction {
  Action action;  // kNone: none runs
  bool is_idle;   // the session was idle when it began: it is reached through the client read
  MonotonicTime started_at;
  std::uint32_t nonce;  // of the last message
  Handshake handshake;
};

RunningAction* running = nullptr;  // one for each slot

// Never 0, and never the same twice in four billion.
std::uint32_t next_nonce() {
  std::uint32_t nonce = shared->last_nonce.fetch_add(1) + 1;
  return nonce != 0 ? nonce : shared->last_nonce.fetch_add(1) + 1;
}

Judged judged_of(const ActionRequest& request) {
  return Judged{request.session, request.xact_seq, request.state_start};
}

const ActionRequest& request_of(int index) { return session_slots[index].action.request.current(); }

// Sends the request once more, under a new nonce. False if its session has moved on.
bool send_request(int index, MonotonicTime now) {
  RunningAction& action = running[index];
  const std::uint32_t probed = action.handshake.attempts > 0 ? action.nonce : 0;  // see Step::kSend
  action.nonce = next_nonce();
  session_slots[index].action.request.write([&action, probed, now](ActionRequest* request) {
    request->nonce = action.nonce;
    request->probed = probed;
    request->expires_at = now + kHandshakeTimeout;
  });
  note_sent(&action.handshake, now);
  const ActionRequest& request = request_of(index);
  return send_message(index, judged_of(request), action.nonce);
}

ActionResult finish(int index, ActionResult result) {
  drop_action(index);
  return result;
}

// An active session needs no handshake: the server's own signals reach it.
ActionResult signal_active(int index) {
  const ActionRequest& request = request_of(index);
  const bool is_sent = running[index].action == Action::kCancel ? send_cancel(index, judged_of(request))
                                                                : send_terminate(index, judged_of(request));
  return finish(index, is_sent ? ActionResult::kDone : ActionResult::kSkipped);
}

Step handshake_step(int index, MonotonicTime now) {
  const RunningAction& action = running[index];
  const Reply reply = session_slots[index].action.reply_to(action.nonce);
  // In this order: only a sleep that is seen after the reply proves anything.
  const bool is_asleep = is_waiting_for_client(index, request_of(index).session);
  return next_step(action.handshake, reply, is_asleep, now);
}

ActionResult advance_cancel(int index, MonotonicTime now) {
  switch (handshake_step(index, now)) {
    case Step::kWait:
      return ActionResult::kRequested;
    case Step::kSend:
      return send_request(index, now) ? ActionResult::kRequested : finish(index, ActionResult::kSkipped);
    case Step::kDone:
      return finish(index, ActionResult::kDone);
    case Step::kRefused:
      return finish(index, ActionResult::kSkipped);
    case Step::kGiveUp:
      return finish(index, ActionResult::kUnsafe);
  }
  return ActionResult::kRequested;
}

// One message is enough. Who does not answer it in time, because it is stopped or not reading, gets SIGTERM.
ActionResult advance_terminate(int index, MonotonicTime now) {
  const RunningAction& action = running[index];
  const ActionRequest& request = request_of(index);
  if (action.handshake.attempts == 0)
    return send_request(index, now) ? ActionResult::kRequested : finish(index, ActionResult::kSkipped);

  switch (session_slots[index].action.reply_to(action.nonce)) {
    case Reply::kDone:
      return finish(index, ActionResult::kDone);
    case Reply::kRefused:
      return finish(index, ActionResult::kSkipped);
    default:
      break;
  }
  if (now - action.started_at < kGracePeriod) return ActionResult::kRequested;
  const bool is_sent = send_terminate(index, judged_of(request));
  return finish(index, is_sent ? ActionResult::kDone : ActionResult::kSkipped);
}

}  // namespace

void prepare_action_runner() {
  running = static_cast<RunningAction*>(MemoryContextAllocZero(
      TopMemoryContext, static_cast<Size>(shared->slot_count) * sizeof(RunningAction)));
  // What an earlier scanner has left running goes on.
  const MonotonicTime now = monotonic_now();
  for (int i = 0; i < shared->slot_count; i++) {
    const ActionRequest& request = request_of(i);
    if (request.nonce == 0) continue;
    running[i] = RunningAction{request.action, true, now, request.nonce, Handshake{}};
    note_sent(&running[i].handshake, now);
  }
}

void start_action(int index, const Episode& episode, const SessionStatus& sample, Action action,
                  const ActionReason& reason) {
  running[index] =
      RunningAction{action, is_idle_in_transaction(sample.state), MonotonicTime::none(), 0, Handshake{}};
  session_slots[index].action.request.write([&](ActionRequest* request) {
    *request = ActionRequest{
        0, 0, action, episode.session, episode.xact_seq, sample.state_start, MonotonicTime::none(), reason};
  });
}

ActionResult advance_action(int index, MonotonicTime now) {
  RunningAction& action = running[index];
  if (!action.started_at.is_set()) action.started_at = now;
  if (!action.is_idle) return signal_active(index);
  return action.action == Action::kCancel ? advance_cancel(index, now) : advance_terminate(index, now);
}

void drop_action(int index) {
  if (running[index].action == Action::kNone) return;
  running[index].action = Action::kNone;
  session_slots[index].action.request.write([](ActionRequest* request) { request->nonce = 0; });
}

bool has_begun_to_act(int index) {
  if (running[index].action == Action::kNone) return false;
  const Reply reply = session_slots[index].action.reply_to(running[index].nonce);
  return reply == Reply::kActing || reply == Reply::kDone;
}

bool is_action_running(int index) { return running[index].action != Action::kNone; }

}  // namespace pgleak
