// Carrying out actions on one session: the evidence, the messages and signals, and what became of them. Also
// the requests of pgleak.cancel() and pgleak.terminate(), which ask for one.
//
// Nothing reaches a session before the log and the queue know of it. Never waits, never ereports beyond LOG
// and WARNING.
#ifndef PGLEAK_SCANNER_ACTIONS_HPP
#define PGLEAK_SCANNER_ACTIONS_HPP

#include "core/decision.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Carries out what `decision` says about actions on the session, after its episode was opened, kept or
// closed.
void apply_action(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision);

// --- backend_signal.cpp: reaching one certain backend, never another one that got its process id ---

// What was judged, and must still be so when it is acted on.
struct Judged {
  SessionId session;
  XactSeq xact_seq;
  WallTime state_start;  // since when the session is in the state that was judged
};

// Each returns false and does nothing if the session is not what was judged any more. They hold ProcArrayLock
// (shared) for as long as a kill() lasts.

// Makes the backend handle the invalidation message with `nonce`, which nobody else minds.
bool send_message(TrackedSession session, const Judged& judged, std::uint32_t nonce);

// As pg_cancel_backend() and pg_terminate_backend().
bool send_cancel(TrackedSession session, const Judged& judged);
bool send_terminate(TrackedSession session, const Judged& judged);

}  // namespace pgleak

#endif
