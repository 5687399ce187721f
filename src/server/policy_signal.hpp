// Owns: the trigger on pgleak.rules: it refuses more rules than fit, and tells the recorder at the commit.
// Called by whoever changes the table. May ereport, before the commit only.
#ifndef PGLEAK_SERVER_POLICY_SIGNAL_HPP
#define PGLEAK_SERVER_POLICY_SIGNAL_HPP

#include "server/postgres.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace pgleak {

// After a statement that changed the table. Without pgleak in shared memory nobody is told.
void note_rule_change(const TriggerData* trigger);

}  // namespace pgleak

#endif
