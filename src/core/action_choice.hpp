// Chooses the action to begin on an open episode, by its limits or by hand, or says what holds it off.
//
// Called by core/decision. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_ACTION_CHOICE_HPP
#define PGLEAK_CORE_ACTION_CHOICE_HPP

#include "core/decision.hpp"

namespace pgleak {

// Adds to `decision` the action that snapshot.manual or else the limits demand: one to begin, or the next one
// and what holds it off. `decision` must have the ages and the impact of the session.
void choose_action(const SessionSnapshot& snapshot, const Episode& episode, const ScanInputs& inputs,
                   Budgets* budgets, Decision* decision);

}  // namespace pgleak

#endif
