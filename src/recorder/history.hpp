// Owns: finding the extension's tables and being allowed to write into pgleak.history and to read
// pgleak.rules. Called by the recorder inside a transaction. May ereport, as all access to catalogs does.
// Owns: the row of pgleak.history that an event makes: its columns, and their values. Called by
// server/history_writer. May ereport (out of memory), not because of what a session has sent.
// Owns: the statements that change pgleak.history, and the notifications that go with them.
// Called by the recorder inside a transaction, after open_history() said kReady. All may ereport.
// Owns: the notification that goes with an event, as JSON on the channel "pgleak".
// Called by the history writer, inside the transaction that writes the event. May ereport.
// Owns: the notifications about changed verdicts on pools. Called by the recorder.
#ifndef PGLEAK_RECORDER_HISTORY_HPP
#define PGLEAK_RECORDER_HISTORY_HPP

#include <cstdint>

#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "shmem/event_queue.hpp"

extern "C" {
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
}

namespace pgleak {

enum class HistoryAccess {
  kReady,         // locked until the end of the transaction
  kNoExtension,   // CREATE EXTENSION has not been run in this database
  kOtherVersion,  // the extension's SQL objects are not those this library was made for
  kNoTable,       // the extension has lost its table, or another one stands in its place
  kLocked,        // somebody holds a lock that excludes us
};

// Looks for the extension and its table, and locks the table without ever waiting.
// If kReady: the rest of the transaction runs as the table's owner, restricted, with a search_path of
// pg_catalog alone, so that a trigger on the table gains nothing from us.
HistoryAccess open_history();

// True if rewrite rules of the table's owner would go off on an INSERT or an UPDATE. Only if open_history()
// said kReady.
bool has_history_rules();

// To be called before the commit if open_history() said kReady: fires deferred triggers while the
// restrictions still hold, then lifts them and takes back what the table's code has set. After an ERROR the
// rollback does so.
void close_history();

// As open_history(), for reading pgleak.rules; works on a standby too. `*table` is the table if it is there.
HistoryAccess open_rules(Oid* table);

// Lifts what open_rules() has imposed, if it said kReady.
void close_rules();

inline constexpr int kHistoryColumnCount = 35;

// The types of the columns, in the order in which they are written.
extern const Oid kHistoryTypes[kHistoryColumnCount];

// Appends the names of the columns, separated by commas.
void append_history_columns(StringInfo statement);

// Names and types as the description of a tuple, in the current memory context.
TupleDesc describe_history_row();

// One row, and the names that a notification has of it. All of it is valid in this database, in the memory
// context in which it was made.
struct HistoryRow {
  Datum values[kHistoryColumnCount];
  bool nulls[kHistoryColumnCount];
  const char* database;
  const char* role;
  const char* application_name;
};
void make_history_row(const Event& event, HistoryRow* row);

// Writes the `count` oldest events of the queue, which stay there: the caller finishes them after the commit.
// Sends one NOTIFY for each if `notifies`. If none of them can have been written before they `are_new`: that
// is quicker, and an error if it is wrong. Else writing an event again changes nothing.
void write_events(std::uint64_t count, bool are_new, bool notifies);

// Completes rows of this server that are still open as 'server stopped' at `ended_at`, but at least at their
// detection. Only when no episode of the running server can be among them, or at its stop.
void complete_open_rows(WallTime ended_at);

// Largest leak_id of this server in the history; 0 if there is none.
std::int64_t largest_leak_id();

// Deletes up to `limit` rows of ended episodes that ended longer than `retention` ago, or failing that
// up to min(`limit`, `surplus`) of the oldest ones. Returns the number of rows deleted.
std::uint64_t prune_history(Micros retention, std::uint64_t surplus, int limit);

// Number of rows, by counting them.
std::uint64_t count_history();

// The names are those of the event, valid in this database.
void notify_event(const Event& event, const char* database, const char* role, const char* application_name);

// Sends one NOTIFY for each of the `count` oldest verdict_queue, which stay in their queue: the caller
// finishes them after the commit. Inside a transaction. May ereport.
void notify_verdicts(std::uint64_t count);

}  // namespace pgleak

#endif
