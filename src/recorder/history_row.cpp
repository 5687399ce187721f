#include <optional>

#include "core/application_name.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/contention_json.hpp"
#include "pg/encoding.hpp"
#include "pg/json.hpp"
#include "pg/wait_event.hpp"
#include "recorder/history.hpp"

extern "C" {
#include "access/toast_compression.h"
#include "access/toast_internals.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

constexpr const char* kNames[kHistoryColumnCount] = {"system_identifier",
                                                     "leak_id",
                                                     "pid",
                                                     "database",
                                                     "role",
                                                     "application_name",
                                                     "client_addr",
                                                     "client_port",
                                                     "backend_start",
                                                     "xact_start",
                                                     "state",
                                                     "idle_since",
                                                     "idle_for",
                                                     "transaction_age",
                                                     "clock",
                                                     "detected_at",
                                                     "leak_after",
                                                     "limit_source",
                                                     "query",
                                                     "query_id",
                                                     "ended_at",
                                                     "duration",
                                                     "outcome",
                                                     "last_action",
                                                     "last_action_at",
                                                     "last_action_result",
                                                     "action_source",
                                                     "tags",
                                                     "holds_xid",
                                                     "holds_xmin",
                                                     "xmin_age",
                                                     "locks",
                                                     "blocked",
                                                     "blocked_for",
                                                     "impact",
                                                     "held",
                                                     "waiting",
                                                     "trail",
                                                     "wait_event",
                                                     "client_gone",
                                                     "kind",
                                                     "gid",
                                                     "prepared_at",
                                                     "oldest_for",
                                                     "retained_bytes",
                                                     "slot_name",
                                                     "notify_queue_usage",
                                                     "subxact_overflow",
                                                     "code"};

// Collects the values of a row, in the order of its columns.
struct Values {
  HistoryRow* row;
  int count;

  void add(Datum value) {
    row->values[count] = value;
    row->nulls[count++] = false;
  }
  void add_null() {
    row->values[count] = 0;
    row->nulls[count++] = true;
  }
  void add_xid(TransactionId xid) { xid == 0 ? add_null() : add(TransactionIdGetDatum(xid)); }
  void add_time(WallTime time) { time.is_set() ? add(TimestampTzGetDatum(to_timestamp(time))) : add_null(); }
  void add_text(const char* text) { text == nullptr ? add_null() : add(CStringGetTextDatum(text)); }
  void add_duration(std::optional<Micros> duration) {
    duration ? add(IntervalPGetDatum(make_interval(*duration))) : add_null();
  }
  void add_address(const char* address) {
    address[0] == '\0' ? add_null() : add(DirectFunctionCall1(inet_in, CStringGetDatum(address)));
  }
  void add_json(const char* json) {
    json == nullptr ? add_null() : add(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
  }
  void add_effects(const LeakEffects& effects) {
    add_duration(shown_oldest_for(effects));
    effects.retained_bytes == 0 ? add_null()
                                : add(Int64GetDatum(static_cast<std::int64_t>(effects.retained_bytes)));
    add_text(effects.retained_bytes == 0 ? nullptr : effects.slot_name);
    effects.has_queue_usage ? add(Float8GetDatum(static_cast<double>(effects.notify_queue_usage)))
                            : add_null();
    effects.sampled_at.is_set() ? add(BoolGetDatum(effects.has_subxact_overflow)) : add_null();
  }
  // Compresses the value, for content that repeats itself. The server compresses only rows of more than 2 kB.
  void add_packed_json(const char* json) {
    if (json == nullptr) return add_null();
    const Datum plain = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
    const Datum packed = toast_compress_datum(plain, TOAST_PGLZ_COMPRESSION);
    add(DatumGetPointer(packed) != nullptr ? packed : plain);  // compression fails if it would gain little
  }
};

}  // namespace

const Oid kHistoryTypes[kHistoryColumnCount] = {
    INT8OID,        INT8OID,     INT4OID,        TEXTOID,        TEXTOID,     TEXTOID,
    INETOID,        INT4OID,     TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID,     TIMESTAMPTZOID,
    INTERVALOID,    INTERVALOID, TEXTOID,        TIMESTAMPTZOID, INTERVALOID, TEXTOID,
    TEXTOID,        INT8OID,     TIMESTAMPTZOID, INTERVALOID,    TEXTOID,     TEXTOID,
    TIMESTAMPTZOID, TEXTOID,     TEXTOID,        JSONBOID,       XIDOID,      XIDOID,
    INT8OID,        INT4OID,     INT4OID,        INTERVALOID,    TEXTOID,     JSONBOID,
    JSONBOID,       JSONBOID,    TEXTOID,        BOOLOID,        TEXTOID,     TEXTOID,
    TIMESTAMPTZOID, INTERVALOID, INT8OID,        TEXTOID,        FLOAT8OID,   BOOLOID,
    TEXTOID};

void append_history_columns(StringInfo statement) {
  for (int i = 0; i < kHistoryColumnCount; i++)
    appendStringInfo(statement, "%s%s", i > 0 ? ", " : "", kNames[i]);
}

TupleDesc describe_history_row() {
  TupleDesc description = CreateTemplateTupleDesc(kHistoryColumnCount);
  for (int i = 0; i < kHistoryColumnCount; i++)
    TupleDescInitEntry(description, static_cast<AttrNumber>(i + 1), kNames[i], kHistoryTypes[i], -1, 0);
  compat::finish_description(description);
  return description;
}

void make_history_row(const Event& event, HistoryRow* row) {
  const Episode& episode = event.episode;
  const SessionIdentity& who = episode.who;
  const auto convert = [&who](const char* name) {
    return to_database_encoding(name, static_cast<int>(strlen(name)), who.encoding);
  };
  row->database = convert(who.database);
  row->role = convert(who.role);
  const bool is_session = episode.kind == HolderKind::kSession;
  row->application_name = is_session ? convert(who.application_name) : nullptr;
  row->gid = event.has_gid() ? convert(event.text()) : nullptr;
  const bool has_statement = is_session && !event.has_gid() && event.text_length > 0;
  const int statement_length = has_statement ? event.text_length : 0;
  const char* const statement =
      has_statement ? to_database_encoding(event.text(), statement_length, who.encoding) : nullptr;

  Values values{row, 0};
  values.add(Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())));
  values.add(Int64GetDatum(episode.leak_id));
  if (is_session)
    values.add(Int32GetDatum(episode.session.pid));
  else
    values.add_null();
  values.add_text(row->database);
  values.add_text(row->role);
  values.add_text(row->application_name);
  const ClientAddress client = shown_client(who);
  values.add_address(client.address);
  if (client.port == kPortUnknown)
    values.add_null();
  else
    values.add(Int32GetDatum(client.port));
  values.add_time(episode.session.backend_start);
  values.add_time(episode.xact_start);
  values.add_text(to_string(episode.state));
  values.add_time(episode.idle_since);
  values.add_duration(episode.progress.longest_idle);
  values.add_duration(episode.progress.transaction_age);
  values.add_text(to_string(episode.clock));
  values.add_time(episode.detected_at);
  values.add_duration(episode.leak_after);
  values.add_text(name_of(episode.limit_source, episode.rule_id).text);
  values.add_text(statement);
  if (episode.query_id == 0)
    values.add_null();
  else
    values.add(Int64GetDatum(static_cast<std::int64_t>(episode.query_id)));
  values.add_time(event.ending.at);
  values.add_duration(event.kind == EventKind::kEnded ? std::optional(event.ending.lasted) : std::nullopt);
  values.add_text(to_string(event.ending.outcome));
  values.add_text(to_string(episode.progress.action.last));
  values.add_time(episode.progress.action.at);
  char result[kResultSize];
  describe_result(episode.progress.action, result);
  values.add_text(result[0] != '\0' ? result : nullptr);
  char source[kActionSourceSize];
  describe_source(episode.progress.action.source, source);
  values.add_text(episode.progress.action.last == Action::kNone
                      ? nullptr
                      : to_database_encoding(source, static_cast<int>(strlen(source)),
                                             episode.progress.action.source.encoding));
  Tags tags;
  read_tags(event.tags, &tags);
  values.add_json(tags_json(tags, who.encoding));
  values.add_xid(episode.progress.worst.xid);
  values.add_xid(episode.progress.worst.xmin);
  if (episode.progress.worst.xmin_age < 0)
    values.add_null();
  else
    values.add(Int64GetDatum(episode.progress.worst.xmin_age));
  values.add(Int32GetDatum(episode.progress.worst.locks));
  values.add(Int32GetDatum(episode.progress.worst.blocked));
  values.add_duration(episode.progress.worst.blocked_for);
  values.add_text(to_string(episode.progress.worst.impact));
  values.add_packed_json(held_json(event.held));
  values.add_packed_json(waiting_json(event.waiting, nullptr));
  values.add_packed_json(trail_json(event.trail(), event.trail_length, who.encoding));
  values.add_text(wait_event_name(episode.wait_event));
  if (episode.progress.client_gone)
    values.add(BoolGetDatum(*episode.progress.client_gone));
  else
    values.add_null();
  values.add_text(to_string(episode.kind));
  values.add_text(row->gid);
  values.add_time(episode.prepared_at);
  values.add_effects(episode.progress.effects);
  values.add_text(code_text(tags, who.encoding));
  Assert(values.count == kHistoryColumnCount);
}

}  // namespace pgleak
