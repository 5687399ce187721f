#include "server/history_writer.hpp"

#include "server/encoding.hpp"
#include "server/notification.hpp"
#include "server/postgres.hpp"
#include "server/shared_memory.hpp"
#include "server/tags_json.hpp"
#include "server/trail_json.hpp"

extern "C" {
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// One statement writes every kind of event: the first that arrives makes the row, a later one completes it,
// and one that arrives twice changes nothing.
constexpr char kWriteEvent[] =
    "INSERT INTO pgleak.history AS h (system_identifier, leak_id, pid, database, role, application_name,"
    " client_addr, client_port, backend_start, xact_start, state, idle_since, idle_for, transaction_age, "
    "clock,"
    " detected_at, leak_after, limit_source, query, query_id, ended_at, duration, outcome,"
    " last_action, last_action_at, last_action_result, tags,"
    " holds_xid, holds_xmin, xmin_age, locks, blocked, blocked_for, impact, trail)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7::pg_catalog.inet, $8, $9, $10, $11, $12,"
    " $13 * interval '1 microsecond', $14 * interval '1 microsecond', $15, $16,"
    " $17 * interval '1 microsecond', $18, $19, $20, $21, $22 * interval '1 microsecond', $23, $24, $25, $26,"
    " $27::pg_catalog.jsonb, $28, $29, $30, $31, $32, $33 * interval '1 microsecond', $34,"
    " $35::pg_catalog.jsonb)"
    " ON CONFLICT (system_identifier, leak_id) DO UPDATE SET ended_at = EXCLUDED.ended_at,"
    " duration = EXCLUDED.duration, outcome = EXCLUDED.outcome, idle_for = EXCLUDED.idle_for,"
    " transaction_age = EXCLUDED.transaction_age, last_action = EXCLUDED.last_action,"
    " last_action_at = EXCLUDED.last_action_at, last_action_result = EXCLUDED.last_action_result,"
    " holds_xid = EXCLUDED.holds_xid, holds_xmin = EXCLUDED.holds_xmin, xmin_age = EXCLUDED.xmin_age,"
    " locks = EXCLUDED.locks, blocked = EXCLUDED.blocked, blocked_for = EXCLUDED.blocked_for,"
    " impact = EXCLUDED.impact,"
    " trail = coalesce(EXCLUDED.trail, h.trail)"
    " WHERE h.ended_at IS NULL";

const Oid kWriteEventTypes[] = {
    INT8OID,   INT8OID,        INT4OID,        TEXTOID,        TEXTOID,        TEXTOID,   TEXTOID,
    INT4OID,   TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID,        TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID,
    TEXTOID,   TIMESTAMPTZOID, FLOAT8OID,      TEXTOID,        TEXTOID,        INT8OID,   TIMESTAMPTZOID,
    FLOAT8OID, TEXTOID,        TEXTOID,        TIMESTAMPTZOID, TEXTOID,        TEXTOID,   XIDOID,
    XIDOID,    INT8OID,        INT4OID,        INT4OID,        FLOAT8OID,      TEXTOID,   TEXTOID};
constexpr int kWriteEventColumns = static_cast<int>(sizeof(kWriteEventTypes) / sizeof(kWriteEventTypes[0]));

constexpr char kCompleteOpenRows[] =
    "UPDATE pgleak.history SET ended_at = greatest($2, detected_at),"
    " duration = greatest($2, detected_at) - detected_at, outcome = 'server stopped'"
    " WHERE ended_at IS NULL AND system_identifier = $1";

constexpr char kLargestLeakId[] =
    "SELECT pg_catalog.max(leak_id) FROM pgleak.history WHERE system_identifier = $1";

constexpr char kPruneOld[] =
    "DELETE FROM pgleak.history WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.history"
    " WHERE ended_at < pg_catalog.now() - $1 * interval '1 microsecond' ORDER BY ended_at LIMIT $2))";

constexpr char kPruneSurplus[] =
    "DELETE FROM pgleak.history WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.history"
    " WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT $1))";

constexpr char kCount[] = "SELECT pg_catalog.count(*) FROM pgleak.history";

// Prepares the statement on first use and keeps it; the plan cache follows a table that is made anew.
SPIPlanPtr kept_plan(SPIPlanPtr* plan, const char* statement, int count, const Oid* types) {
  if (*plan == nullptr) {
    SPIPlanPtr fresh = SPI_prepare(statement, count, const_cast<Oid*>(types));
    if (fresh == nullptr || SPI_keepplan(fresh) != 0)
      ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                      errmsg("pgleak: could not prepare a statement for its history")));
    *plan = fresh;
  }
  return *plan;
}

void execute(SPIPlanPtr plan, Datum* values, const char* nulls, int expected) {
  const int result = SPI_execute_plan(plan, values, nulls, false, 0);
  if (result != expected)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not change its history"),
                    errdetail("SPI returned %s.", SPI_result_code_string(result))));
}

// The first column of the first row as a number; 0 if it is NULL.
std::int64_t first_number() {
  bool is_null = true;
  Datum value = 0;
  if (SPI_processed > 0) value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  return is_null ? 0 : DatumGetInt64(value);
}

// Runs body() with SPI and a snapshot. No RAII: an ERROR in between unwinds both through the transaction.
template <typename Body>
void with_spi(Body body) {
  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  body();
  PopActiveSnapshot();
  SPI_finish();
}

// The values of one row in the order of kWriteEvent.
struct Row {
  Datum values[kWriteEventColumns];
  char nulls[kWriteEventColumns];
  int count;

  void add(Datum value) {
    values[count] = value;
    nulls[count++] = ' ';
  }
  void add_null() {
    values[count] = 0;
    nulls[count++] = 'n';
  }
  void add_xid(TransactionId xid) { xid == 0 ? add_null() : add(TransactionIdGetDatum(xid)); }
  void add_time(WallTime time) { time == 0 ? add_null() : add(TimestampTzGetDatum(time)); }
  void add_duration(Micros us) { us < 0 ? add_null() : add(Float8GetDatum(static_cast<double>(us))); }
  void add_text(const char* text) { text == nullptr ? add_null() : add(CStringGetTextDatum(text)); }
};

// The names, the statement, its tags and the trail of an event, valid in this database.
struct EventText {
  const char* database;
  const char* role;
  const char* application_name;
  const char* statement;
  const char* tags;   // as JSON, or nullptr
  const char* trail;  // likewise
};

EventText convert_text(const Event& event) {
  const SessionIdentity& who = event.episode.who;
  const auto convert = [&who](const char* name) {
    return to_database_encoding(name, static_cast<int>(strlen(name)), who.encoding);
  };
  return EventText{convert(who.database),
                   convert(who.role),
                   convert(who.application_name),
                   to_database_encoding(event.statement(), event.statement_length, who.encoding),
                   tags_json(event.statement(), event.statement_length, who.encoding),
                   trail_json(event.trail(), event.trail_length, who.encoding)};
}

void write_row(const Event& event, const EventText& text) {
  const Episode& episode = event.episode;
  Row row{};
  row.add(Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())));
  row.add(Int64GetDatum(episode.leak_id));
  row.add(Int32GetDatum(episode.session.pid));
  row.add_text(text.database);
  row.add_text(text.role);
  row.add_text(text.application_name);
  row.add_text(episode.who.client_address[0] != '\0' ? episode.who.client_address : nullptr);
  if (episode.who.client_port == kPortUnknown)
    row.add_null();
  else
    row.add(Int32GetDatum(episode.who.client_port));
  row.add_time(episode.session.backend_start);
  row.add_time(episode.xact_start);
  row.add_text(to_string(episode.state));
  row.add_time(episode.idle_since);
  row.add_duration(episode.longest_idle);
  row.add_duration(episode.transaction_age);
  row.add_text(to_string(episode.clock));
  row.add_time(episode.detected_at);
  row.add_duration(episode.leak_after);
  row.add_text(name_of(episode.limit_source, episode.rule_id).text);
  row.add_text(event.statement_length > 0 ? text.statement : nullptr);
  if (episode.query_id == 0)
    row.add_null();
  else
    row.add(Int64GetDatum(static_cast<std::int64_t>(episode.query_id)));
  row.add_time(event.ending.at);
  row.add_duration(event.kind == EventKind::kEnded ? event.ending.lasted : kNotSet);
  row.add_text(to_string(event.ending.outcome));
  row.add_text(to_string(episode.action.last));
  row.add_time(episode.action.at);
  row.add_text(to_string(episode.action.result));
  row.add_text(text.tags);
  row.add_xid(episode.worst.xid);
  row.add_xid(episode.worst.xmin);
  if (episode.worst.xmin_age < 0)
    row.add_null();
  else
    row.add(Int64GetDatum(episode.worst.xmin_age));
  row.add(Int32GetDatum(episode.worst.locks));
  row.add(Int32GetDatum(episode.worst.blocked));
  row.add_duration(episode.worst.blocked_for);
  row.add_text(to_string(episode.worst.impact));
  row.add_text(text.trail);

  static SPIPlanPtr plan = nullptr;
  kept_plan(&plan, kWriteEvent, kWriteEventColumns, kWriteEventTypes);
  execute(plan, row.values, row.nulls, SPI_OK_INSERT);
}

}  // namespace

void write_events(std::uint64_t count, bool notifies) {
  with_spi([count, notifies] {
    MemoryContext row_context =
        AllocSetContextCreate(CurrentMemoryContext, "pgleak event", ALLOCSET_DEFAULT_SIZES);
    MemoryContext outer_context = MemoryContextSwitchTo(row_context);
    for (std::uint64_t i = 0; i < count; i++) {
      const Event& event = *event_queue->peek(i);
      const EventText text = convert_text(event);
      write_row(event, text);
      if (notifies) notify_event(event, text.database, text.role, text.application_name);
      MemoryContextReset(row_context);
    }
    MemoryContextSwitchTo(outer_context);
  });
}

void complete_open_rows(WallTime ended_at) {
  with_spi([ended_at] {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID, TIMESTAMPTZOID};
    Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())),
                      TimestampTzGetDatum(ended_at)};
    execute(kept_plan(&plan, kCompleteOpenRows, 2, types), values, nullptr, SPI_OK_UPDATE);
  });
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
    if (retention > 0) {
      static SPIPlanPtr plan = nullptr;
      const Oid types[] = {FLOAT8OID, INT8OID};
      Datum values[] = {Float8GetDatum(static_cast<double>(retention)), Int64GetDatum(limit)};
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
