// Owns: finding the extension's tables and being allowed to write into pgleak.history and to read
// pgleak.rules. Called by the recorder inside a transaction. May ereport, as all access to catalogs does.
#ifndef PGLEAK_SERVER_HISTORY_TABLE_HPP
#define PGLEAK_SERVER_HISTORY_TABLE_HPP

#include "server/postgres.hpp"

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

}  // namespace pgleak

#endif
