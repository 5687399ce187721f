// Tells a driver's keepalive from the application: the same statement again and again that reads nothing,
// such as SELECT 1. It says that the connection works, not that anybody does anything with it, so the idle
// clock runs on.
//
// Called by the scanner, and by pgleak.leaks for the ages. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_KEEPALIVE_HPP
#define PGLEAK_CORE_KEEPALIVE_HPP

#include "core/detection.hpp"
#include "core/session.hpp"
#include "core/trail.hpp"

namespace pgleak {

// True if the session in `status` was idle in the same transaction when `clocks` were read last, and has run
// something since. Then the newest statement of its trail decides.
bool has_run_since(const SessionClocks& clocks, const SessionStatus& status);

// Call if has_run_since(). Lets the idle clock run on if the session has run nothing since but keepalives
// like `newest`. The first one counts as work, because only the next one shows what it was.
void pass_over_keepalive(SessionClocks* clocks, const SessionStatus& status, const TrailEntry& newest);

}  // namespace pgleak

#endif
