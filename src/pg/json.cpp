

#include "pg/json.hpp"

#include "core/tags.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/encoding.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "catalog/pg_type.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// Percent-encoded bytes are UTF-8 by convention, whatever the encoding of the database.
int encoding_of(const Tag& tag, const char* text, int source_encoding) {
  if (!tag.has_decoded_bytes) return source_encoding;
  const int length = static_cast<int>(strlen(text));
  const int whole = pg_encoding_mbcliplen(PG_UTF8, text, length, length);
  return pg_encoding_verifymbstr(PG_UTF8, text, whole) == whole ? PG_UTF8 : source_encoding;
}

const char* text_of(const Tag& tag, const char* text, int source_encoding) {
  return to_database_encoding(text, static_cast<int>(strlen(text)), encoding_of(tag, text, source_encoding));
}

void append_text(StringInfo json, const Tag& tag, const char* text, int source_encoding) {
  escape_json(json, text_of(tag, text, source_encoding));
}

}  // namespace

char* tags_json(const Tags& tags, int source_encoding) {
  if (tags.count == 0 && !tags.is_truncated) return nullptr;

  StringInfoData json;
  initStringInfo(&json);
  appendStringInfoChar(&json, '{');
  for (int i = 0; i < tags.count; i++) {
    const Tag& tag = tags.tags[i];
    if (i > 0) appendStringInfoString(&json, ", ");
    append_text(&json, tag, tag.key, source_encoding);
    appendStringInfoString(&json, ": ");
    append_text(&json, tag, tag.value, source_encoding);
  }
  if (tags.is_truncated) appendStringInfo(&json, "%s\"truncated\": true", tags.count > 0 ? ", " : "");
  appendStringInfoChar(&json, '}');
  return json.data;
}

namespace {

// Always in UTC, because the recorder and the session that reads a live view may have different time zones.
void append_time(StringInfo json, const char* key, WallTime time) {
  const int utc = 0;
  char text[MAXDATELEN + 1];
  JsonEncodeDateTime(text, TimestampTzGetDatum(to_timestamp(time)), TIMESTAMPTZOID, &utc);
  appendStringInfo(json, "\"%s\": \"%s\"", key, text);
}

void append_duration(StringInfo json, const char* key, Micros duration) {
  appendStringInfo(json, ", \"%s\": ", key);
  if (duration < Micros{0})
    appendStringInfoString(json, "null");
  else
    appendStringInfo(json, "%.6f", static_cast<double>(duration.us) / static_cast<double>(kSecond.us));
}

void append_entry(StringInfo json, const TrailEntry& entry, int source_encoding) {
  appendStringInfoChar(json, '{');
  append_time(json, "at", entry.at);
  appendStringInfoString(json, ", \"query_id\": ");
  if (entry.query_id == 0)
    appendStringInfoString(json, "null");
  else
    appendStringInfo(json, INT64_FORMAT, static_cast<int64>(entry.query_id));
  appendStringInfoString(json, ", \"query\": ");
  escape_json(json, to_database_encoding(entry.text, entry.length, source_encoding));
  append_duration(json, "idle_before", entry.idle_before);
  if (entry.count > 1) {
    appendStringInfo(json, ", \"count\": %u, ", entry.count);
    append_time(json, "last_at", entry.last_at);
    append_duration(json, "idle_within", entry.idle_within);
  }
  if (entry.omitted > 0) appendStringInfo(json, ", \"omitted\": %u", entry.omitted);
  appendStringInfoChar(json, '}');
}

}  // namespace

char* route_text(const Tags& tags, int source_encoding) {
  const RouteTags route = find_route(tags);
  if (route.first == nullptr) return nullptr;
  const char* const first = text_of(*route.first, route.first->value, source_encoding);
  if (route.action == nullptr) return pstrdup(first);
  return psprintf("%s#%s", first, text_of(*route.action, route.action->value, source_encoding));
}

char* code_text(const Tags& tags, int source_encoding) {
  const CodeTags code = find_code(tags);
  if (code.place == nullptr) return nullptr;
  StringInfoData text;
  initStringInfo(&text);
  appendStringInfoString(&text, text_of(*code.place, code.place->value, source_encoding));
  if (code.line != nullptr)
    appendStringInfo(&text, ":%s", text_of(*code.line, code.line->value, source_encoding));
  if (code.function != nullptr)
    appendStringInfo(&text, " %s", text_of(*code.function, code.function->value, source_encoding));
  return text.data;
}

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
