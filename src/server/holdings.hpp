// Owns: what one backend holds: its xid and snapshot, its locks, and who waits for them.
// Called by the scanner for a leak it is about to act on, not for every session at every look. Takes the
// partition locks of the lock table one at a time, shared. Allocates nothing, never ereports.
#ifndef PGLEAK_SERVER_HOLDINGS_HPP
#define PGLEAK_SERVER_HOLDINGS_HPP

#include "core/impact.hpp"
#include "core/session.hpp"

namespace pgleak {

// What the session in slot `index` holds; false if it is not `session` any more. Only sessions that wait for
// one of its own locks count as blocked, not those that wait for these in turn.
bool read_holdings(int index, SessionId session, Holdings* holdings);

}  // namespace pgleak

#endif
