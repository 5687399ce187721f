#include "server/notification.hpp"

#include "server/postgres.hpp"

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
  appendStringInfo(json, ", \"%s\": %.3f", key, static_cast<double>(duration) / kSecond);
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

}  // namespace

// Small enough for the 8000 bytes of a notification whatever the names are: no statement.
void notify_event(const Event& event, const char* database, const char* role, const char* application_name) {
  const Episode& episode = event.episode;
  StringInfoData json;
  initStringInfo(&json);
  appendStringInfo(&json, "{\"event\": \"%s\", \"leak_id\": " INT64_FORMAT ", \"pid\": %d",
                   kind_name(event.kind), episode.leak_id, episode.session.pid);
  append_json_pair(&json, "database", database);
  append_json_pair(&json, "role", role);
  append_json_pair(&json, "application_name", application_name);
  append_json_pair(&json, "clock", to_string(episode.clock));
  append_json_seconds(&json, "leak_after", episode.leak_after);
  append_json_pair(&json, "impact", to_string(episode.worst.impact));
  appendStringInfo(&json, ", \"blocked\": %d", episode.worst.blocked);
  if (event.kind == EventKind::kActed) {
    append_json_pair(&json, "action", to_string(episode.action.last));
    append_json_pair(&json, "result", to_string(episode.action.result));
  }
  if (event.kind == EventKind::kEnded) {
    append_json_seconds(&json, "duration", event.ending.lasted);
    append_json_pair(&json, "outcome", to_string(event.ending.outcome));
  }
  appendStringInfoChar(&json, '}');
  Async_Notify(kChannel, json.data);
}

}  // namespace pgleak
