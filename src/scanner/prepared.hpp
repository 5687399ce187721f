// Follows the prepared transactions from scan to scan: reads each place, decides with core/prepared, and
// applies the decision.
//
// A prepared transaction has no session: the scanner sees its process, its locks and those who wait. Its gid,
// owner and age come from the recorder (shmem/prepared_memory), which can call the server's functions. Never
// ereports.
#ifndef PGLEAK_SCANNER_PREPARED_HPP
#define PGLEAK_SCANNER_PREPARED_HPP

#include "scanner/scan_context.hpp"

namespace pgleak {

// Takes over what an earlier scanner left. Call once, after prepare_lock_waits().
void prepare_prepared();

// Scans all places. Does nothing if the server can have no prepared transaction.
void scan_prepared(ScanContext* scan);

// Marks places that others wait behind, as begin_marking_roots() and mark_root() do for sessions.
void forget_prepared_roots();
void begin_marking_prepared_roots();
void mark_prepared_root(int place);

}  // namespace pgleak

#endif
