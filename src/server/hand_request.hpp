// Owns: asking the scanner for an action by hand, and waiting for its answer.
// Called by the SQL functions pgleak.cancel() and pgleak.terminate(). May ereport.
#ifndef PGLEAK_SERVER_HAND_REQUEST_HPP
#define PGLEAK_SERVER_HAND_REQUEST_HPP

#include "core/action.hpp"

namespace pgleak {

// Has `action` taken on the client backend `pid`, as the current user. Returns true if it was done; false,
// with a WARNING that says why, if the session is in no state for it. Raises an ERROR if the user may not, if
// `pid` is no client backend, or if no scanner answers.
bool request_action(int pid, Action action);

}  // namespace pgleak

#endif
