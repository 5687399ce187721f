// Owns: which limits apply to a session: its own, those of the rule that decides about it, the server's.
// find_limits() is the scanner's, for sessions at every look: it remembers what it matched. explain_limits()
// is for the SQL functions. They read shared memory, no catalog.
#ifndef PGLEAK_SCANNER_SESSION_LIMITS_HPP
#define PGLEAK_SCANNER_SESSION_LIMITS_HPP

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "core/rules.hpp"
#include "pg/backend_status.hpp"

namespace pgleak {

// Scanner: memory of this process. May ereport (out of memory).
void prepare_session_limits();

// Scanner, at the beginning of a look: takes over the rules in force if they have changed. If they are just
// being changed the old ones serve for this look; whoever changes them wakes the scanner afterwards.
void refresh_rules();

// True if some rule needs the transaction clock.
bool rules_use_transaction_clock();

// Scanner: the limits of the session in slot `index`, which `entry` shows, at these ages. `*next_due_in` is
// lowered to the time after which another rule may decide. The session's impact is read only if an age is
// past some limit and a rule asks for the impact. False if the session cannot be identified now.
bool find_limits(int index, const StatusEntry& entry, const Ages& ages, const LimitValues& server,
                 WallTime now, Limits* limits, Micros* next_due_in);

}  // namespace pgleak

#endif
