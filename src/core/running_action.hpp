// Follows an action that is under way until its effect is seen, or it has failed.
//
// Called by core/decision. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_RUNNING_ACTION_HPP
#define PGLEAK_CORE_RUNNING_ACTION_HPP

#include "core/decision.hpp"

namespace pgleak {

// Returns the result of snapshot.action, or kRequested while it is under way. Sets `*step` if something has
// to be sent for it to go on.
ActionResult check_action(const SessionSnapshot& snapshot, Decision::ActionStep* step);

}  // namespace pgleak

#endif
