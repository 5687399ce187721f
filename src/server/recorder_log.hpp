// Owns: what the recorder tells the administrator, at most once for each thing, and pgleak.stats' last error.
// Called by the recorder, outside of any transaction.
#ifndef PGLEAK_SERVER_RECORDER_LOG_HPP
#define PGLEAK_SERVER_RECORDER_LOG_HPP

#include "server/history_table.hpp"
#include "server/postgres.hpp"

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

}  // namespace pgleak

#endif
