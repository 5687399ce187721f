// Finds the sessions that hold something although their state does not say so: those that others wait behind,
// and those that wait for their client in the middle of a command.
//
// Both read every process, so not every scan does them. Never ereports.
#ifndef PGLEAK_SCANNER_HOLDERS_HPP
#define PGLEAK_SCANNER_HOLDERS_HPP

#include "core/replay_watch.hpp"
#include "scanner/scan_context.hpp"

namespace pgleak {

// Notes whether replay on a standby waits for sessions. Returns the wait, for those who read the lock waits.
ReplayWait observe_replay(const ScanContext& scan);

// Marks such sessions, so that the scan visits them, and notes whether somebody waits for a lock. Call it
// before the scan visits any.
void find_holders(ScanContext* scan);

// How soon the next scan has to look for waiters again.
Micros next_poll_for_waiters(const ScanContext& scan);

}  // namespace pgleak

#endif
