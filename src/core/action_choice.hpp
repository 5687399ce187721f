// Which action to begin on an open episode, because of its limits or by hand, and what keeps limits from
// acting.
//
// Called by core/decision. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_ACTION_CHOICE_HPP
#define PGLEAK_CORE_ACTION_CHOICE_HPP

#include "core/decision.hpp"

namespace pgleak {

// Adds to `decision`, which has the ages and the impact of the session, what snapshot.manual or else the
// limits demand: the action to begin, or the next one and what holds it off.
void choose_action(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                   Budgets* budgets, Decision* decision);

}  // namespace pgleak

#endif
