// The parts of the recorder that recorder.cpp calls in each of its turns: connecting, rules, pools, and its
// log.
//
// Everything here runs in the recorder outside any transaction unless its declaration says otherwise, on a
// primary and on a standby alike.
#ifndef PGLEAK_RECORDER_RECORDER_HPP
#define PGLEAK_RECORDER_RECORDER_HPP

#include <cstdint>
#include <optional>

#include "core/rules.hpp"
#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "recorder/history.hpp"

namespace pgleak {

// --- recorder_log.cpp: what the recorder tells the administrator, and the last error in pgleak.stats ---

// Logs the state of the history if it has changed since the last call.
void report_history_access(HistoryAccess access);

// Counts an error of the recorder, keeps it for pgleak.stats, and logs it. The same error is logged at most
// once a minute.
void report_recorder_error(const ErrorData* error);

// As report_recorder_error(), for an error while pgleak.rules was read.
void report_rules_error(const ErrorData* error);

// As report_recorder_error(), for an error while a table of samples was written.
void report_samples_error(const char* table, const ErrorData* error);

// Logs how many rules are in force, after a change.
void report_rules(int count);

// Logs that `count` members of roles named by rules did not fit, if the number has changed.
void report_roles_left_out(std::int64_t count);

// --- rules.cpp: keeps the compiled rules in step with pgleak.rules and the roles it names ---

// Registers for invalidation messages about roles and tables. Call once per process. May ereport.
void prepare_rules();

// Reads and publishes the rules if they may have changed. Returns how long the recorder may sleep as far as
// rules are concerned. The caller resets `context`. Errors are logged, and the previous rules stay in force.
// Never ereports an ERROR.
Micros keep_rules_current(MemoryContext context);

// --- rules_table.cpp: reads pgleak.rules and role memberships into a RuleSet ---

// Fills `set`, which must be all zero, with the enabled rules in their order. Call it inside a transaction,
// after open_rules() returned kReady: it reads as the table's owner. Names of databases and roles that do not
// exist are accepted. May ereport (also if there are more rules than fit).
void read_rules_table(RuleSet* set);

// Adds the direct and indirect members of the roles that the rules name. Call it inside a transaction, as the
// recorder itself, after close_rules(). Returns the number of members that did not fit. May ereport.
std::int64_t read_role_members(RuleSet* set);

// --- pool_upkeep.cpp: the work for pools that needs a database ---

// Reads the connection limits of the pools if they may have changed, and sends the notifications about
// changed verdicts. The caller resets `context`. Errors, such as a locked catalog, are logged at DEBUG1 only:
// the known values stay in force, and the next turn tries again.
void maintain_pools(MemoryContext context);

// --- horizon_samples.cpp, pool_samples.cpp: the samples behind the curves of pgleak.report() ---

// As maintain_samples() of samples.hpp, for one table each.
void maintain_horizon_samples(MemoryContext context);
void maintain_pool_samples(MemoryContext context);

// --- queue_usage.cpp ---

// Publishes the share of the notification queue that is in use, once a second while the scanner wants it. The
// caller resets `context`. An error, logged at DEBUG1, leaves it unknown for that second.
void maintain_queue_usage(MemoryContext context);

// --- prepared.cpp: what the scanner cannot learn about prepared transactions by itself ---

// Lists prepared transactions in shared memory (shmem/prepared_memory.hpp), and answers how those ended that
// the scanner asks for. `is_history_read`: remember_open_prepared() was called, or there is no history. Costs
// a few loads if nothing is prepared. The caller resets `context`. Errors are logged.
void maintain_prepared(MemoryContext context, bool is_history_read);

// Reads which episodes an earlier run of the server, or of this process, has left open. Call it where the
// history may be read.
void remember_open_prepared();

// An episode among these whose transaction is gone, and which the scanner does not follow; looks for one once
// a second.
std::optional<std::int64_t> find_left_prepared();
void forget_left_prepared(std::int64_t leak_id);

// --- database_connection.cpp ---

// Connects this worker to pgleak.database. Call it once, after start_worker(). If the previous attempt
// failed, waits until the database exists and a pause has passed, then ends this process so that its
// successor can connect. May ereport FATAL.
void connect_to_history_database();

}  // namespace pgleak

#endif
