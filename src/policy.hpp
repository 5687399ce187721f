// Owns: keeping the compiled rules in step with pgleak.rules and with the roles it names.
// Called by the recorder at every turn, outside of any transaction, on a standby too.
#ifndef PGLEAK_POLICY_HPP
#define PGLEAK_POLICY_HPP

#include "core/time.hpp"
#include "server/postgres.hpp"

namespace pgleak {

// Once per process: has the server tell about roles and tables that change. May ereport.
void prepare_rules();

// Reads the rules anew if they may have changed and publishes them. Returns how long the recorder may sleep
// as far as rules are concerned. `context` is reset by the caller. Errors are noted and said; the rules that
// were in force then stay in force.
Micros keep_rules_current(MemoryContext context);

}  // namespace pgleak

#endif
