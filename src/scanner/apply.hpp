// Carrying out a decision: episodes open and close, the record, the log and the queue follow. Evidence first,
// then the deed.
#ifndef PGLEAK_SCANNER_APPLY_HPP
#define PGLEAK_SCANNER_APPLY_HPP

#include "scanner/scan_context.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Finds what an earlier scanner left. May ereport (out of memory).
void prepare_apply();

// Carries out `decision`, which was made of `snapshot`. Emits LOG and WARNING messages, nothing worse.
void apply(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision,
           ScanContext* scan);

// Queues the ends of episodes for which the queue had no room, as far as it has by now.
void queue_pending_ends();

}  // namespace pgleak

#endif
