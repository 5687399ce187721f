// Owns: carrying out one action on one session, from the first message to the result, without ever waiting.
// Called by the scanner, at every wake-up while an action runs. Never ereports.
#ifndef PGLEAK_SERVER_ACTION_RUNNER_HPP
#define PGLEAK_SERVER_ACTION_RUNNER_HPP

#include "core/action.hpp"
#include "core/episode.hpp"
#include "core/time.hpp"
#include "server/action_request.hpp"

namespace pgleak {

// How often a running action wants to be looked at when nothing wakes the scanner.
inline constexpr Micros kActionPollInterval = kMillisecond;

// Memory of this process. May ereport (out of memory).
void prepare_action_runner();

// Starts `action` on the session of `episode` in slot `index`, which is in `state`. Call advance_action() at
// once.
void start_action(int index, const Episode& episode, const SessionSample& sample, Action action,
                  const ActionReason& reason);

// Does what can be done now. kRequested: still running. kDone, kSkipped, kUnsafe: over.
ActionResult advance_action(int index, MonotonicTime now);

// Forgets about the action of a session that has gone.
void drop_action(int index);

// True while an action runs on slot `index`.
bool is_action_running(int index);

// True if the session has answered that it is about to act, or has acted.
bool has_begun_to_act(int index);

}  // namespace pgleak

#endif
