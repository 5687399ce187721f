// Owns: reaching one certain backend with a signal or a wake-up, never another that got its process id.
// Called by the scanner only. Takes ProcArrayLock (shared) for as long as a kill() lasts; never ereports.
#ifndef PGLEAK_SERVER_BACKEND_SIGNAL_HPP
#define PGLEAK_SERVER_BACKEND_SIGNAL_HPP

#include <cstdint>

#include "core/session.hpp"

namespace pgleak {

// What was judged, and must still be so when it is acted on.
struct Judged {
  SessionId session;
  Generation generation;
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
