#include "pg/contention_json.hpp"

#include "pg/clock.hpp"
#include "pg/encoding.hpp"
#include "pg/lock_names.hpp"
#include "pg/postgres.hpp"
#include "pg/replay_conflict.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// As the caller of pg_advisory_lock() gave it: one number, or two.
void append_advisory_key(StringInfo json, const LOCKTAG& tag) {
  if (tag.locktag_field4 == 1) {
    const uint64 key = static_cast<uint64>(tag.locktag_field2) << 32 | tag.locktag_field3;
    appendStringInfo(json, ", \"key\": " INT64_FORMAT, static_cast<int64>(key));
  } else {
    appendStringInfo(json, ", \"key\": [%d, %d]", static_cast<int32>(tag.locktag_field2),
                     static_cast<int32>(tag.locktag_field3));
  }
}

void append_relation(StringInfo json, const LOCKTAG& tag) {
  appendStringInfoString(json, ", \"relation\": ");
  escape_json(json, relation_name(tag));
  const LockTagType type = static_cast<LockTagType>(tag.locktag_type);
  if (type == LOCKTAG_PAGE || type == LOCKTAG_TUPLE)
    appendStringInfo(json, ", \"page\": %u", tag.locktag_field3);
  if (type == LOCKTAG_TUPLE) appendStringInfo(json, ", \"tuple\": %u", tag.locktag_field4);
}

// What is locked, with the names that pg_locks has for its columns.
void append_lock(StringInfo json, const LOCKTAG& tag) {
  appendStringInfo(json, "\"locktype\": \"%s\"", lock_type_name(tag));
  if (is_relation_lock(tag)) return append_relation(json, tag);
  switch (static_cast<LockTagType>(tag.locktag_type)) {
    case LOCKTAG_TRANSACTION:
      appendStringInfo(json, ", \"xid\": %u", tag.locktag_field1);
      break;
    case LOCKTAG_VIRTUALTRANSACTION:
      appendStringInfo(json, ", \"virtualxid\": \"%d/%u\"", static_cast<int32>(tag.locktag_field1),
                       tag.locktag_field2);
      break;
    case LOCKTAG_OBJECT:
      appendStringInfo(json, ", \"classid\": %u, \"objid\": %u", tag.locktag_field2, tag.locktag_field3);
      break;
    case LOCKTAG_ADVISORY:
      append_advisory_key(json, tag);
      break;
    default:
      break;
  }
}

void append_mode(StringInfo json, const LOCKTAG& tag, int mode) {
  const char* const name = lock_mode_name(tag, mode);
  if (name != nullptr) appendStringInfo(json, ", \"mode\": \"%s\"", name);
}

void append_held(StringInfo json, const HeldLock& held) {
  const LOCKTAG tag = tag_of(held.lock);
  append_lock(json, tag);
  append_mode(json, tag, held.mode);
  appendStringInfo(json, ", \"waiters\": %d", held.waiters);
}

void append_since(StringInfo json, WallTime since) {
  // Always in UTC, because the recorder and the session that reads a live view may have different time zones.
  const int utc = 0;
  char text[MAXDATELEN + 1];
  if (!since.is_set()) {
    appendStringInfoString(json, ", \"since\": null");
    return;
  }
  JsonEncodeDateTime(text, TimestampTzGetDatum(to_timestamp(since)), TIMESTAMPTZOID, &utc);
  appendStringInfo(json, ", \"since\": \"%s\"", text);
}

void append_waiting(StringInfo json, const WaitingSession& session, bool is_visible) {
  const LOCKTAG tag = tag_of(session.lock);
  const char* const name = session.application_name;
  appendStringInfo(json, "\"pid\": %d, \"application_name\": ", session.pid);
  escape_json(json, to_database_encoding(name, static_cast<int>(strlen(name)),
                                         encoding_of_database(session.database_oid)));
  appendStringInfoString(json, ", \"backend_type\": ");
  if (is_visible)
    escape_json(json, GetBackendTypeDesc(static_cast<BackendType>(session.backend_type)));
  else
    appendStringInfoString(json, "null");
  appendStringInfoString(json, ", ");
  append_lock(json, tag);
  append_mode(json, tag, session.mode);
  append_since(json, session.since);
  appendStringInfoString(json, ", \"query_id\": ");
  if (is_visible && session.query_id != 0)
    appendStringInfo(json, INT64_FORMAT, static_cast<int64>(session.query_id));
  else
    appendStringInfoString(json, "null");
  appendStringInfo(json, ", \"direct\": %s", session.is_direct ? "true" : "false");
  // The server does not say whose snapshot it is.
  if (replay_conflict_of(tag) == ReplayConflict::kSnapshot) appendStringInfoString(json, ", \"guess\": true");
}

// A JSON array of `count` objects; append(json, i) writes the members of one.
template <typename Append>
char* array_of(int count, Append append) {
  StringInfoData json;
  if (count == 0) return nullptr;
  initStringInfo(&json);
  for (int i = 0; i < count; i++) {
    appendStringInfoString(&json, i == 0 ? "[{" : ", {");
    append(&json, i);
    appendStringInfoChar(&json, '}');
  }
  appendStringInfoChar(&json, ']');
  return json.data;
}

}  // namespace

char* held_json(const HeldLocks& held) {
  // The notification queue comes first: no waiter shows what depends on it.
  const int others = held.listens ? 1 : 0;
  return array_of(Min(held.count + others, kKeptLocks), [&held, others](StringInfo json, int i) {
    if (i < others)
      appendStringInfoString(json, "\"locktype\": \"notification queue\"");
    else
      append_held(json, held.locks[i - others]);
  });
}

char* waiting_json(const WaitingSessions& waiting, bool (*may_see)(unsigned int role)) {
  return array_of(waiting.count, [&waiting, may_see](StringInfo json, int i) {
    const WaitingSession& session = waiting.sessions[i];
    append_waiting(json, session, may_see == nullptr || may_see(session.role_oid));
  });
}

}  // namespace pgleak
