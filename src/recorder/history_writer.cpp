#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "recorder/history.hpp"
#include "recorder/spi.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
}

namespace pgleak {

namespace {

// What later events change in a row. An event that arrives twice changes nothing. The episode of a prepared
// transaction may begin again after a restart, with everything but its id.
constexpr char kIfThere[] =
    " ON CONFLICT (system_identifier, leak_id) DO UPDATE SET ended_at = EXCLUDED.ended_at,"
    " duration = CASE WHEN h.detected_at = EXCLUDED.detected_at THEN EXCLUDED.duration"
    " ELSE EXCLUDED.ended_at - h.detected_at END, outcome = EXCLUDED.outcome, idle_for = EXCLUDED.idle_for,"
    " transaction_age = EXCLUDED.transaction_age, last_action = EXCLUDED.last_action,"
    " last_action_at = EXCLUDED.last_action_at, last_action_result = EXCLUDED.last_action_result, "
    "action_source = EXCLUDED.action_source,"
    " holds_xid = EXCLUDED.holds_xid, holds_xmin = EXCLUDED.holds_xmin,"
    " xmin_age = greatest(h.xmin_age, EXCLUDED.xmin_age),"
    " locks = greatest(h.locks, EXCLUDED.locks), blocked = greatest(h.blocked, EXCLUDED.blocked),"
    " blocked_for = greatest(h.blocked_for, EXCLUDED.blocked_for),"
    " impact = CASE WHEN h.impact = 'blocking' THEN h.impact ELSE EXCLUDED.impact END,"
    " held = CASE WHEN EXCLUDED.held IS NULL OR h.blocked > EXCLUDED.blocked THEN h.held"
    " ELSE EXCLUDED.held END,"
    " waiting = CASE WHEN EXCLUDED.waiting IS NULL OR h.blocked > EXCLUDED.blocked THEN h.waiting"
    " ELSE EXCLUDED.waiting END,"
    " oldest_for = greatest(h.oldest_for, EXCLUDED.oldest_for),"
    " slot_name = CASE WHEN h.retained_bytes > EXCLUDED.retained_bytes THEN h.slot_name"
    " ELSE coalesce(EXCLUDED.slot_name, h.slot_name) END,"
    " retained_bytes = greatest(h.retained_bytes, EXCLUDED.retained_bytes),"
    " notify_queue_usage = greatest(h.notify_queue_usage, EXCLUDED.notify_queue_usage),"
    " subxact_overflow = coalesce(h.subxact_overflow OR EXCLUDED.subxact_overflow,"
    " h.subxact_overflow, EXCLUDED.subxact_overflow),"
    " trail = coalesce(EXCLUDED.trail, h.trail),"
    " gid = coalesce(EXCLUDED.gid, h.gid), prepared_at = coalesce(EXCLUDED.prepared_at, h.prepared_at)"
    " WHERE h.ended_at IS NULL";

// The name of the tuplestore in the statement that inserts new rows.
constexpr char kNewRows[] = "new_rows";

constexpr char kCompleteOpenRows[] =
    "UPDATE pgleak.history SET ended_at = greatest($2, detected_at),"
    " duration = greatest($2, detected_at) - detected_at, outcome = 'server stopped'"
    " WHERE ended_at IS NULL AND system_identifier = $1 AND kind = 'session'";

// $3: the next transaction id, from which the whole id of an older one follows. Nobody was there when they
// ended: the server was down, or pgleak was not loaded.
constexpr char kCompletePreparedRows[] =
    "UPDATE pgleak.history h SET ended_at = greatest($2, detected_at),"
    " duration = greatest($2, detected_at) - detected_at,"
    " outcome = CASE pg_catalog.pg_xact_status(x.full_id::text::xid8)"
    " WHEN 'committed' THEN 'committed' WHEN 'aborted' THEN 'rolled back' ELSE 'unknown' END"
    " FROM (SELECT leak_id,"
    " greatest($3 - (($3 - holds_xid::text::bigint) & 4294967295), 0) AS full_id"
    " FROM pgleak.history WHERE ended_at IS NULL AND system_identifier = $1"
    " AND kind = 'prepared transaction') x"
    " WHERE h.system_identifier = $1 AND h.leak_id = x.leak_id AND NOT EXISTS ("
    "SELECT FROM pg_catalog.pg_prepared_xact() p"
    " WHERE p.transaction = h.holds_xid AND p.prepared = coalesce(h.prepared_at, p.prepared))";

constexpr char kOpenPreparedRows[] =
    "SELECT holds_xid, prepared_at, leak_id, detected_at, blocked FROM pgleak.history"
    " WHERE ended_at IS NULL AND system_identifier = $1 AND kind = 'prepared transaction'"
    " AND holds_xid IS NOT NULL";

constexpr char kLargestLeakId[] =
    "SELECT pg_catalog.max(leak_id) FROM pgleak.history WHERE system_identifier = $1 AND kind = 'session'";

constexpr char kPruneOld[] =
    "DELETE FROM pgleak.history WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.history"
    " WHERE ended_at < pg_catalog.now() - $1 * interval '1 microsecond' ORDER BY ended_at LIMIT $2))";

constexpr char kPruneSurplus[] =
    "DELETE FROM pgleak.history WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.history"
    " WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT $1))";

constexpr char kCount[] = "SELECT pg_catalog.count(*) FROM pgleak.history";

// The first column of the first row as a number; 0 if it is NULL.
std::int64_t first_number() {
  bool is_null = true;
  Datum value = 0;
  if (SPI_processed > 0) value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  return is_null ? 0 : DatumGetInt64(value);
}

// Writes the row whether or not one exists: the first event to arrive creates it, later ones complete it.
void write_row(HistoryRow* row) {
  static SPIPlanPtr plan = nullptr;
  if (plan == nullptr) {
    StringInfoData statement;
    initStringInfo(&statement);
    appendStringInfoString(&statement, "INSERT INTO pgleak.history AS h (");
    append_history_columns(&statement);
    appendStringInfoString(&statement, ") VALUES (");
    for (int i = 1; i <= kHistoryColumnCount; i++)
      appendStringInfo(&statement, "%s$%d", i > 1 ? ", " : "", i);
    appendStringInfo(&statement, ")%s", kIfThere);
    kept_plan(&plan, statement.data, kHistoryColumnCount, kHistoryTypes);
  }
  char nulls[kHistoryColumnCount];
  for (int i = 0; i < kHistoryColumnCount; i++) nulls[i] = row->nulls[i] ? 'n' : ' ';
  execute(plan, row->values, nulls, SPI_OK_INSERT);
}

// Rows that are known to be new, inserted by one statement. That costs half as much as one INSERT per row,
// and without ON CONFLICT each row writes less WAL. The statement reads them as a trigger reads its
// transition tables.
struct NewRows {
  Tuplestorestate* rows;  // nullptr: no rows
  TupleDesc description;
};

void add_new_row(NewRows* waiting, HistoryRow* row) {
  if (waiting->rows == nullptr) waiting->rows = tuplestore_begin_heap(false, false, work_mem);
  tuplestore_putvalues(waiting->rows, waiting->description, row->values, row->nulls);
}

void register_new_rows(EphemeralNamedRelation relation, const NewRows& waiting) {
  relation->md.name = const_cast<char*>(kNewRows);
  relation->md.tupdesc = waiting.description;
  relation->md.enrtype = ENR_NAMED_TUPLESTORE;
  relation->md.enrtuples = static_cast<double>(tuplestore_tuple_count(waiting.rows));
  relation->reldata = waiting.rows;
  if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
    ereport(ERROR,
            (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not pass rows to pgleak.history")));
}

// Inserts the collected rows, if any. An existing row is an ERROR.
void write_new_rows(NewRows* waiting) {
  if (waiting->rows == nullptr) return;
  EphemeralNamedRelationData relation{};
  register_new_rows(&relation, *waiting);
  static SPIPlanPtr plan = nullptr;
  if (plan == nullptr) {
    StringInfoData statement;
    initStringInfo(&statement);
    appendStringInfoString(&statement, "INSERT INTO pgleak.history (");
    append_history_columns(&statement);
    appendStringInfo(&statement, ") SELECT * FROM %s", kNewRows);
    kept_plan(&plan, statement.data, 0, nullptr);
  }
  execute(plan, nullptr, nullptr, SPI_OK_INSERT);
  SPI_unregister_relation(kNewRows);
  tuplestore_end(waiting->rows);
  waiting->rows = nullptr;
}

}  // namespace

SPIPlanPtr kept_plan(SPIPlanPtr* plan, const char* statement, int count, const Oid* types) {
  if (*plan == nullptr) {
    SPIPlanPtr fresh = SPI_prepare(statement, count, const_cast<Oid*>(types));
    if (fresh == nullptr || SPI_keepplan(fresh) != 0)
      ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                      errmsg("pgleak: could not prepare a statement for pgleak.history")));
    *plan = fresh;
  }
  return *plan;
}

void execute(SPIPlanPtr plan, Datum* values, const char* nulls, int expected) {
  const int result = SPI_execute_plan(plan, values, nulls, false, 0);
  if (result != expected)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not modify pgleak.history"),
                    errdetail("SPI returned %s.", SPI_result_code_string(result))));
}

void write_events(std::uint64_t count, bool are_new, bool notifies) {
  // With such rules on the table, the server rejects ON CONFLICT; inserting rows one by one reports that
  // error instead of running rules whose effect we could not tell from our own.
  const bool writes_together = are_new && !has_history_rules();
  with_spi([count, writes_together, notifies] {
    NewRows waiting{nullptr, describe_history_row()};
    MemoryContext row_context =
        AllocSetContextCreate(CurrentMemoryContext, "pgleak event", ALLOCSET_DEFAULT_SIZES);
    MemoryContext outer_context = CurrentMemoryContext;
    for (std::uint64_t i = 0; i < count; i++) {
      const Event& event = *event_queue->peek(i);
      HistoryRow row;
      MemoryContextSwitchTo(row_context);
      make_history_row(event, &row);
      if (notifies) notify_event(event, row);
      MemoryContextSwitchTo(outer_context);
      // The row of a prepared transaction may be there since an earlier run of the server.
      const bool is_new = event.kind == EventKind::kOpened && event.episode.kind == HolderKind::kSession;
      if (writes_together && is_new) {
        add_new_row(&waiting, &row);
      } else {
        write_new_rows(&waiting);
        write_row(&row);
      }
      MemoryContextReset(row_context);
    }
    write_new_rows(&waiting);
  });
}

void complete_open_rows(WallTime ended_at) {
  with_spi([ended_at] {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID, TIMESTAMPTZOID};
    Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())),
                      TimestampTzGetDatum(to_timestamp(ended_at))};
    execute(kept_plan(&plan, kCompleteOpenRows, 2, types), values, nullptr, SPI_OK_UPDATE);
  });
}

void complete_prepared_rows(WallTime ended_at) {
  with_spi([ended_at] {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID, TIMESTAMPTZOID, INT8OID};
    const std::uint64_t next = U64FromFullTransactionId(ReadNextFullTransactionId());
    Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())),
                      TimestampTzGetDatum(to_timestamp(ended_at)),
                      Int64GetDatum(static_cast<std::int64_t>(next))};
    execute(kept_plan(&plan, kCompletePreparedRows, 3, types), values, nullptr, SPI_OK_UPDATE);
  });
}

int read_open_prepared(OpenPrepared* rows, int most) {
  int count = 0;
  with_spi([rows, most, &count] {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID};
    Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier()))};
    execute(kept_plan(&plan, kOpenPreparedRows, 1, types), values, nullptr, SPI_OK_SELECT);
    for (std::uint64_t i = 0; i < SPI_processed && count < most; i++) {
      bool is_null = false;
      const auto value = [i, &is_null](int column) {
        return SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column, &is_null);
      };
      OpenPrepared& row = rows[count++];
      row.xid = DatumGetTransactionId(value(1));
      row.prepared_at = from_timestamp(DatumGetTimestampTz(value(2)));
      if (is_null) row.prepared_at = WallTime::none();
      row.episode.leak_id = DatumGetInt64(value(3));
      row.episode.detected_at = from_timestamp(DatumGetTimestampTz(value(4)));
      row.episode.blocked = DatumGetInt32(value(5));
    }
  });
  return count;
}

std::int64_t largest_leak_id() {
  std::int64_t largest = 0;
  with_spi([&largest] {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID};
    Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier()))};
    execute(kept_plan(&plan, kLargestLeakId, 1, types), values, nullptr, SPI_OK_SELECT);
    largest = first_number();
  });
  return largest;
}

std::uint64_t prune_history(Micros retention, std::uint64_t surplus, int limit) {
  std::uint64_t deleted = 0;
  with_spi([&deleted, retention, surplus, limit] {
    if (retention > Micros{0}) {
      static SPIPlanPtr plan = nullptr;
      const Oid types[] = {FLOAT8OID, INT8OID};
      Datum values[] = {Float8GetDatum(static_cast<double>(retention.us)), Int64GetDatum(limit)};
      execute(kept_plan(&plan, kPruneOld, 2, types), values, nullptr, SPI_OK_DELETE);
      deleted = SPI_processed;
    }
    if (deleted == 0 && surplus > 0) {
      static SPIPlanPtr plan = nullptr;
      const Oid types[] = {INT8OID};
      const std::uint64_t most = static_cast<std::uint64_t>(limit);
      Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(surplus < most ? surplus : most))};
      execute(kept_plan(&plan, kPruneSurplus, 1, types), values, nullptr, SPI_OK_DELETE);
      deleted = SPI_processed;
    }
  });
  return deleted;
}

std::uint64_t count_history() {
  std::int64_t rows = 0;
  with_spi([&rows] {
    static SPIPlanPtr plan = nullptr;
    execute(kept_plan(&plan, kCount, 0, nullptr), nullptr, nullptr, SPI_OK_SELECT);
    rows = first_number();
  });
  return static_cast<std::uint64_t>(rows);
}

}  // namespace pgleak
