// Finds the sessions that hold something although their state does not say so: those that others wait behind,
// and those that wait for their client in the middle of a command.
//
// Both take a look at every process, so they are not done at every scan. Never ereports.
#ifndef PGLEAK_SCANNER_HOLDERS_HPP
#define PGLEAK_SCANNER_HOLDERS_HPP

#include <optional>

#include "pg/backend_status.hpp"
#include "scanner/scan_context.hpp"

namespace pgleak {

// Allocates this process's memory. May ereport (out of memory).
void prepare_holders();

// Marks such sessions, so that the scan visits them. Call it before the scan visits any.
void find_holders(const ScanContext& scan);

// Whether others wait behind the session of slot `index`; nothing if this scan has not looked for waiters, or
// if the session has changed since.
std::optional<bool> blocks_others(int index, const StatusEntry& entry);

// How soon the next scan has to look for waiters again.
Micros next_look_for_waiters(const ScanContext& scan);

}  // namespace pgleak

#endif
