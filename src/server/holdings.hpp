// Owns: what one backend holds: its xid and snapshot, its locks, and who waits for them.
// Called by the scanner, for every open leak at every look and for others that a rule asks about. Takes locks
// of the server's lock table, one at a time, shared: those of the partitions in which the session has locks
// and, if somebody waits for one of these, in which anybody waits. Allocates nothing, never ereports.
#ifndef PGLEAK_SERVER_HOLDINGS_HPP
#define PGLEAK_SERVER_HOLDINGS_HPP

#include "core/impact.hpp"
#include "core/session.hpp"

namespace pgleak {

// What the session in slot `index` holds; false if it is not `session` any more. Blocked are all who wait
// behind it, directly or through others, as of the present look: see server/lock_waits.
bool read_holdings(int index, SessionId session, Holdings* holdings);

// Has the processor fetch what read_holdings() will read of the process at `proc_index` in
// ProcGlobal->allProcs.
void fetch_holdings(int proc_index);

}  // namespace pgleak

#endif
