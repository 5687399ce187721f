// Owns: the guard that makes COMMIT fail loudly after a transaction was rolled back in place.
// Called by the hook at utility statements, inside client backends.
#ifndef PGLEAK_SERVER_COMMIT_GUARD_HPP
#define PGLEAK_SERVER_COMMIT_GUARD_HPP

#include "server/postgres.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgleak {

// If `statement`, a utility statement of the client's, would commit what was rolled back in place: ends the
// block and raises an ERROR.
void guard_commit(const PlannedStmt* statement);

}  // namespace pgleak

#endif
