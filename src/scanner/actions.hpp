// Owns: acting on open episodes: whether an action may be taken now, writing down the evidence first, and
// what became of it. Called by episodes.cpp, in the scanner. Must never reach a session before the log and
// the queue know of it.
// Owns: carrying out one action on one session, from the first message to the result, without ever waiting.
// Called by the scanner, at every wake-up while an action runs. Never ereports.
// Owns: reaching one certain backend with a signal or a wake-up, never another that got its process id.
// Called by the scanner only. Takes ProcArrayLock (shared) for as long as a kill() lasts; never ereports.
#ifndef PGLEAK_SCANNER_ACTIONS_HPP
#define PGLEAK_SCANNER_ACTIONS_HPP

#include <cstdint>

#include "core/action.hpp"
#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/session.hpp"
#include "core/time.hpp"
#include "scanner/scan_context.hpp"
#include "shmem/action_request.hpp"

namespace pgleak {

// Memory of this process. May ereport (out of memory).
void prepare_actions();

// Goes on with the action that runs on the open episode of slot `index`, if one does.
void continue_action(int index, ScanContext* scan);

// Begins the action that the session's limits demand, or that somebody asks for by hand.
void act_if_due(int index, const SessionStatus& sample, const Ages& ages, ScanContext* scan);

// True if somebody asks by hand for an action on this very transaction.
bool is_asked_for(int index, SessionId session, XactSeq xact_seq);

// Tells whoever asks by hand for an action on slot `index` that its session has moved on.
void refuse_request(int index);

// The episode of slot `index` is over: whatever runs there has come to an end.
void forget_actions(int index);

// How often a running action wants to be looked at when nothing wakes the scanner.
inline constexpr Micros kActionPollInterval = kMillisecond;

// Memory of this process. May ereport (out of memory).
void prepare_action_runner();

// Starts `action` on the session of `episode` in slot `index`, which is in `state`. Call advance_action() at
// once.
void start_action(int index, const Episode& episode, const SessionStatus& sample, Action action,
                  const ActionReason& reason);

// Does what can be done now. kRequested: still running. kDone, kSkipped, kUnsafe: over.
ActionResult advance_action(int index, MonotonicTime now);

// Forgets about the action of a session that has gone.
void drop_action(int index);

// True while an action runs on slot `index`.
bool is_action_running(int index);

// True if the session has answered that it is about to act, or has acted.
bool has_begun_to_act(int index);

// What was judged, and must still be so when it is acted on.
struct Judged {
  SessionId session;
  XactSeq xact_seq;
  WallTime state_start;  // since when the session is in the state that was judged
};

// Each returns false and does nothing if the session in slot `index` is not what was judged any more.

// Has the backend handle the invalidation message with `nonce`, which nobody else minds.
bool send_message(int index, const Judged& judged, std::uint32_t nonce);

// As pg_cancel_backend and pg_terminate_backend.
bool send_cancel(int index, const Judged& judged);
bool send_terminate(int index, const Judged& judged);

// True if the session was just seen waiting for its client.
bool is_waiting_for_client(int index, SessionId session);

}  // namespace pgleak

#endif
