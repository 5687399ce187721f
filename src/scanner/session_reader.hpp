// Reads one session for a decision: first the part every candidate needs, then, on request, the part only a
// leak needs.
//
// Everything is read in place from shared memory. Only read_more() takes locks, those of the lock table.
// Never ereports.
#ifndef PGLEAK_SCANNER_SESSION_READER_HPP
#define PGLEAK_SCANNER_SESSION_READER_HPP

#include "scanner/scan_context.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Allocates this process's memory. May ereport (out of memory).
void prepare_session_reader();

// Takes over the rules in force if they have changed. While the recorder is changing them, the old ones serve
// one more scan; the recorder wakes the scanner when it is done. Returns the rules for this scan, valid until
// the next call.
const RuleSet& refresh_rules();

// What the process at `proc_index` in ProcGlobal->allProcs waits for now. Read without synchronization.
SessionWait read_wait(int proc_index);

// Reads the session into `snapshot`. Returns false if its entry kept changing; the next scan will read it.
bool read_session(TrackedSession session, const ScanContext& scan, SessionSnapshot* snapshot);

// Reads what `decision` asks for. Returns false if the session has gone.
bool read_more(TrackedSession session, const Decision& decision, SessionSnapshot* snapshot);

}  // namespace pgleak

#endif
