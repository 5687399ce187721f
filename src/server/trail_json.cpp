#include "server/trail_json.hpp"

#include "server/encoding.hpp"
#include "server/postgres.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

void append_entry(StringInfo json, const TrailEntry& entry, int source_encoding) {
  // In UTC, whoever asks: the recorder and the session that reads the live view may be set to different
  // zones.
  const int utc = 0;
  char at[MAXDATELEN + 1];
  JsonEncodeDateTime(at, TimestampTzGetDatum(entry.at), TIMESTAMPTZOID, &utc);
  appendStringInfo(json, "{\"at\": \"%s\", \"query_id\": ", at);
  if (entry.query_id == 0)
    appendStringInfoString(json, "null");
  else
    appendStringInfo(json, INT64_FORMAT, static_cast<int64>(entry.query_id));
  appendStringInfoString(json, ", \"query\": ");
  escape_json(json, to_database_encoding(entry.text, entry.length, source_encoding));
  appendStringInfoChar(json, '}');
}

}  // namespace

char* trail_json(const TrailEntry* entries, int count, int source_encoding) {
  if (count == 0) return nullptr;
  StringInfoData json;
  initStringInfo(&json);
  appendStringInfoChar(&json, '[');
  for (int i = 0; i < count; i++) {
    if (i > 0) appendStringInfoString(&json, ", ");
    append_entry(&json, entries[i], source_encoding);
  }
  appendStringInfoChar(&json, ']');
  return json.data;
}

}  // namespace pgleak
