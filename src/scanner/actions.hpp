// Carries out actions on one session: writes the evidence, sends messages and signals, and reports the
// result. Also serves the requests of pgleak.cancel() and pgleak.terminate().
//
// Evidence comes first: nothing reaches a session before the log and the queue have it. Nothing here waits,
// and nothing ereports above WARNING.
#ifndef PGLEAK_SCANNER_ACTIONS_HPP
#define PGLEAK_SCANNER_ACTIONS_HPP

#include "core/decision.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Carries out the actions in `decision`. Call it after the session's episode was opened, kept or closed.
void apply_action(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision);

// --- backend_signal.cpp: reaches exactly one backend, never another that inherited its process id ---

// The session a decision was made about. It must still match when the signal is sent.
struct Judged {
  SessionId session;
  XactSeq xact_seq;
  WallTime state_start;  // when the session entered that state
};

// Each returns false and does nothing if the session no longer matches. They hold ProcArrayLock (shared) for
// the duration of one kill().

// Makes the backend handle the invalidation message with `nonce`, which every other backend ignores.
bool send_message(TrackedSession session, const Judged& judged, std::uint32_t nonce);

// Sends SIGINT, which the target's handler reads as what ActionSlot::arm_signal() has armed; see
// backend/active_action.cpp.
bool send_interrupt(TrackedSession session, const Judged& judged);

// As pg_terminate_backend() does.
bool send_terminate(TrackedSession session, const Judged& judged);

}  // namespace pgleak

#endif
