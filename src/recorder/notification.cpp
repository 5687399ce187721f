

#include "pg/encoding.hpp"
#include "pg/postgres.hpp"
#include "recorder/history.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "utils/json.h"
}

namespace pgleak {

namespace {

constexpr char kChannel[] = "pgleak";

void append_json_pair(StringInfo json, const char* key, const char* value) {
  appendStringInfo(json, ", \"%s\": ", key);
  escape_json(json, value);
}

void append_json_seconds(StringInfo json, const char* key, Micros duration) {
  appendStringInfo(json, ", \"%s\": %.3f", key,
                   static_cast<double>(duration.us) / static_cast<double>(kSecond.us));
}

const char* kind_name(EventKind kind) {
  switch (kind) {
    case EventKind::kOpened:
      return "opened";
    case EventKind::kBlocking:
      return "blocking";
    case EventKind::kActed:
      return "acted";
    case EventKind::kEnded:
      return "ended";
  }
  return "";
}

// What it cost beside those who wait; keys without a value are left out.
void append_effects(StringInfo json, const LeakEffects& effects) {
  if (effects.oldest_for > Micros{0}) append_json_seconds(json, "oldest_for", effects.oldest_for);
  if (effects.retained_bytes > 0) {
    appendStringInfo(json, ", \"retained_bytes\": " UINT64_FORMAT, effects.retained_bytes);
    append_json_pair(json, "slot_name", effects.slot_name);
  }
  if (effects.has_queue_usage)
    appendStringInfo(json, ", \"notify_queue_usage\": %.6f", static_cast<double>(effects.notify_queue_usage));
  if (effects.has_subxact_overflow) appendStringInfoString(json, ", \"subxact_overflow\": true");
}

}  // namespace

// Contains no statement, so it fits into the 8000 bytes of a notification whatever the names are.
void notify_event(const Event& event, const HistoryRow& row) {
  const Episode& episode = event.episode;
  StringInfoData json;
  initStringInfo(&json);
  appendStringInfo(&json, "{\"event\": \"%s\", \"leak_id\": " INT64_FORMAT, kind_name(event.kind),
                   episode.leak_id);
  append_json_pair(&json, "kind", to_string(episode.kind));
  if (episode.kind == HolderKind::kSession) appendStringInfo(&json, ", \"pid\": %d", episode.session.pid);
  if (row.gid != nullptr) append_json_pair(&json, "gid", row.gid);
  append_json_pair(&json, "database", row.database);
  append_json_pair(&json, "role", row.role);
  if (row.application_name != nullptr) append_json_pair(&json, "application_name", row.application_name);
  append_json_pair(&json, "clock", to_string(episode.clock));
  append_json_seconds(&json, "leak_after", episode.leak_after);
  append_json_pair(&json, "impact", to_string(episode.progress.worst.impact));
  appendStringInfo(&json, ", \"blocked\": %d", episode.progress.worst.blocked);
  append_effects(&json, episode.progress.effects);
  if (event.kind == EventKind::kActed) {
    append_json_pair(&json, "action", to_string(episode.progress.action.last));
    append_json_pair(&json, "result", to_string(episode.progress.action.result));
  }
  if (event.kind == EventKind::kEnded) {
    append_json_seconds(&json, "duration", event.ending.lasted);
    append_json_pair(&json, "outcome", to_string(event.ending.outcome));
  }
  appendStringInfoChar(&json, '}');
  Async_Notify(kChannel, json.data);
}

namespace {

void append_text(StringInfo json, const char* key, const char* value) {
  appendStringInfo(json, ", \"%s\": ", key);
  escape_json(json, value);
}

void append_name(StringInfo json, const char* key, const char* name, int encoding) {
  append_text(json, key, to_database_encoding(name, static_cast<int>(strlen(name)), encoding));
}

// Any role may listen, so it contains neither client addresses nor any part of a statement.
char* as_json(const VerdictChange& notice) {
  const SessionIdentity& who = notice.who;
  StringInfoData json;
  initStringInfo(&json);
  appendStringInfo(&json, "{\"event\": \"verdict\", \"scope\": \"%s\"", to_string(notice.scope));
  if (is_of_application(notice.scope)) {
    append_name(&json, "database", who.database, who.encoding);
    append_name(&json, "role", who.role, who.encoding);
    append_name(&json, "application_name", who.application_name, who.encoding);
  }
  append_text(&json, "verdict", to_string(notice.verdict));
  append_text(&json, "was", to_string(notice.before));
  appendStringInfo(&json, ", \"connections\": %d, \"in_use\": %d", notice.counts.connections, notice.used);
  if (notice.capacity > 0) appendStringInfo(&json, ", \"capacity\": %d", notice.capacity);
  appendStringInfo(&json, ", \"leaked\": %d, \"waiting\": %d}", notice.counts.leaked, notice.counts.waiting);
  return json.data;
}

}  // namespace

void notify_verdicts(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; i++)
    Async_Notify("pgleak", as_json(shared->pools.verdict_queue.peek(i)));
}

}  // namespace pgleak
