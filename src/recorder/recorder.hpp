// Owns: what the recorder tells the administrator, at most once for each thing, and pgleak.stats' last error.
// Called by the recorder, outside of any transaction.
// Owns: keeping the compiled rules in step with pgleak.rules and with the roles it names.
// Called by the recorder at every turn, outside of any transaction, on a standby too.
// Owns: reading pgleak.rules, and who is a member of the roles it names, into a RuleSet.
// Called by rules.cpp in the recorder, inside a transaction, on a standby too. May ereport.
// Owns: what the recorder does for the pools because the scanner cannot: looking up CONNECTION LIMITs,
// sending notifications. Called by the recorder at every turn, outside of any transaction, on a standby too.
// Owns: the recorder's connection to pgleak.database, and waiting for it quietly when it cannot be had.
// Called once by the recorder, after start_worker().
#ifndef PGLEAK_RECORDER_RECORDER_HPP
#define PGLEAK_RECORDER_RECORDER_HPP

#include <cstdint>

#include "core/rules.hpp"
#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "recorder/history.hpp"

namespace pgleak {

// Says in what state the history is found when that has changed since the last call.
void report_history_access(HistoryAccess access);

// Counts an error of the recorder, keeps it for pgleak.stats and logs it; the same error again is logged once
// a minute only.
void report_recorder_error(const ErrorData* error);

// As report_recorder_error(), of an error while pgleak.rules was read.
void report_rules_error(const ErrorData* error);

// Says that other rules are in force now.
void report_rules(int count);

// Says that for `count` members of roles that rules name there was no room, when that has changed.
void report_roles_left_out(std::int64_t count);

// Once per process: has the server tell about roles and tables that change. May ereport.
void prepare_rules();

// Reads the rules anew if they may have changed and publishes them. Returns how long the recorder may sleep
// as far as rules are concerned. `context` is reset by the caller. Errors are noted and said; the rules that
// were in force then stay in force.
Micros keep_rules_current(MemoryContext context);

// Fills `set`, which is all zero, with the enabled rules in their order. After open_rules() said kReady: it
// reads as the table's owner, and names of no database or role are as good as others. More rules than fit are
// an ERROR.
void read_rules_table(RuleSet* set);

// Adds the members, direct and indirect, of the roles that the rules name. As the recorder itself, after
// close_rules(). Returns the number of roles for which there was no room.
std::int64_t read_role_members(RuleSet* set);

// `context` is reset by the caller. Errors (somebody has a catalog locked) are not worth a word: what was
// known stays in force, and it is tried again a little later.
void maintain_pools(MemoryContext context);

// Connects this worker to pgleak.database. If that failed the last time, first waits until the database
// exists and a pause has passed, and ends the worker so that its successor can connect. May ereport FATAL.
void connect_to_history_database();

}  // namespace pgleak

#endif
