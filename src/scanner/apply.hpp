// Carries out a decision: opens, updates or closes the episode, then writes the log and the queue. Evidence
// comes first, then the action.
#ifndef PGLEAK_SCANNER_APPLY_HPP
#define PGLEAK_SCANNER_APPLY_HPP

#include "scanner/scan_context.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

// Takes over the pending ends that an earlier scanner left. May ereport (out of memory).
void prepare_apply();

// Carries out `decision`, which was made from `snapshot`. Emits LOG and WARNING messages, nothing worse.
void apply(TrackedSession session, const SessionSnapshot& snapshot, const Decision& decision,
           ScanContext* scan);

// Queues pending ends as far as the queue has room. Never ereports.
void queue_pending_ends();

}  // namespace pgleak

#endif
