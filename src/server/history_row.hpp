// Owns: the row of pgleak.history that an event makes: its columns, and their values. Called by
// server/history_writer. May ereport (out of memory), not because of what a session has sent.
#ifndef PGLEAK_SERVER_HISTORY_ROW_HPP
#define PGLEAK_SERVER_HISTORY_ROW_HPP

#include "server/event_queue.hpp"
#include "server/postgres.hpp"

extern "C" {
#include "access/tupdesc.h"
#include "lib/stringinfo.h"
}

namespace pgleak {

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

}  // namespace pgleak

#endif
