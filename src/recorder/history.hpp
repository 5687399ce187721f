// Access to pgleak.history: opening it safely, the row that an event becomes, the statements that write and
// prune, and the notifications that go with them.
//
// The recorder calls all of this inside a transaction, and calls what reads or writes the table only after
// open_history() returned kReady. Everything may ereport, as any access to a table may, but never because of
// the bytes that a session sent: those are made valid first (pg/encoding.hpp). Results live in the current
// memory context.
#ifndef PGLEAK_RECORDER_HISTORY_HPP
#define PGLEAK_RECORDER_HISTORY_HPP

#include <cstdint>
#include <optional>

#include "core/prepared.hpp"
#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "shmem/event_queue.hpp"

extern "C" {
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
}

namespace pgleak {

// --- history_table.cpp: finds, locks and closes the extension's tables ---

enum class HistoryAccess {
  kReady,         // the table is locked until the end of the transaction
  kNoExtension,   // CREATE EXTENSION has not been run in this database
  kOtherVersion,  // the extension's SQL objects do not match this library
  kNoTable,       // the extension has lost its table, or another table has its name
  kLocked,        // another session holds a conflicting lock
};

// Finds the extension and its table, and locks the table without ever waiting. If it returns kReady, the rest
// of the transaction runs as the table's owner, security-restricted, with the search_path pg_catalog, so that
// a trigger on the table gains no privileges from us.
HistoryAccess open_history();

// True if INSERT or UPDATE on the table would fire rewrite rules of its owner.
bool has_history_rules();

// Call it before the commit if open_history() returned kReady. Fires deferred triggers while the restrictions
// still hold, then lifts the restrictions and reverts any settings that the table's code changed. After an
// ERROR, the rollback does the same.
void close_history();

// As open_history(), but for pgleak.horizon_samples. close_history() closes that table as well.
HistoryAccess open_samples();

// As open_history(), but for reading pgleak.rules; works on a standby too. Sets `*table` if the table exists.
HistoryAccess open_rules(Oid* table);

// Lifts the restrictions of open_rules(). Call it if open_rules() returned kReady.
void close_rules();

// --- history_row.cpp: the columns of pgleak.history and their values ---

inline constexpr int kHistoryColumnCount = 49;

// The types of the columns, in the order in which they are written.
extern const Oid kHistoryTypes[kHistoryColumnCount];

// Appends the column names, separated by commas.
void append_history_columns(StringInfo statement);

// The names and types as a tuple descriptor, allocated in the current memory context.
TupleDesc describe_history_row();

// One row, and the names that its notification needs. Texts are in the encoding of this database; everything
// lives in the memory context in which make_history_row() was called.
struct HistoryRow {
  Datum values[kHistoryColumnCount];
  bool nulls[kHistoryColumnCount];
  const char* database;
  const char* role;
  const char* application_name;  // nullptr: a prepared transaction
  const char* gid;               // nullptr: none, or not known
};

// Fills `row` from `event`.
void make_history_row(const Event& event, HistoryRow* row);

// --- history_writer.cpp: writes and prunes ---

// Writes the `count` oldest events of the queue. The events stay in the queue; the caller removes them after
// the commit. Sends one NOTIFY per event if `notifies`. Pass `are_new` only if none of the events can have
// been written before: that is faster, but a duplicate raises an ERROR. Otherwise, writing an event twice
// changes nothing.
void write_events(std::uint64_t count, bool are_new, bool notifies);

// Completes the rows of this server's sessions that are still open as 'server stopped' at `ended_at`, or at
// their detection if that is later. Call it only at server stop, or when no row can belong to an episode of
// the running server. Prepared transactions outlive the server, so their rows stay open.
void complete_open_rows(WallTime ended_at);

// Completes the rows of prepared transactions that are gone, with the outcome that the commit log has: all,
// or that of one episode. Call it only where the scanner follows none of them.
void complete_prepared_rows(WallTime ended_at, std::optional<std::int64_t> leak_id);

// The episode of a prepared transaction in a row that is open.
struct OpenPrepared {
  TransactionId xid;
  WallTime prepared_at;  // none: the row does not have it
  KnownEpisode episode;
};

// Reads at most `most` of these rows. Returns their number.
int read_open_prepared(OpenPrepared* rows, int most);

// Returns the largest leak_id of this server's sessions in the history; 0 if there is none.
std::int64_t largest_leak_id();

// Deletes up to `limit` rows of episodes that ended more than `retention` ago or, if there are none, up to
// min(`limit`, `surplus`) of the oldest ended episodes. Returns the number of rows deleted.
std::uint64_t prune_history(Micros retention, std::uint64_t surplus, int limit);

// Returns the number of rows, by counting them.
std::uint64_t count_history();

// --- notification.cpp: NOTIFY pgleak ---

// Sends the NOTIFY of the event from which `row` was made, as JSON on the channel "pgleak".
void notify_event(const Event& event, const HistoryRow& row);

// Sends one NOTIFY for each of the `count` oldest entries of the verdict queue. They stay in the queue; the
// caller removes them after the commit.
void notify_verdicts(std::uint64_t count);

}  // namespace pgleak

#endif
