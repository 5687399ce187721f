// Reading one session for a decision: first what every candidate needs, then what only a leak does.
//
// All of it is read from shared memory in place, without a lock but those of the lock table (read_more).
// Never ereports.
#ifndef PGLEAK_SCANNER_SESSION_READER_HPP
#define PGLEAK_SCANNER_SESSION_READER_HPP

#include "scanner/scan_context.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Allocates this process's memory. May ereport (out of memory).
void prepare_session_reader();

// Takes over the rules in force if they have changed. While they are being changed the old ones serve one
// scan more: the recorder wakes the scanner afterwards. Returns the rules for this scan.
const RuleSet& refresh_rules();

// Reads the session into `snapshot`. Returns false if its entry kept changing: the next scan will see it
// whole.
bool read_session(TrackedSession session, const ScanContext& scan, SessionSnapshot* snapshot);

// Reads what `decision` asks for. Returns false if the session has gone.
bool read_more(TrackedSession session, const Decision& decision, SessionSnapshot* snapshot);

}  // namespace pgleak

#endif
