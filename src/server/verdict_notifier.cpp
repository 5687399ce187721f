#include "server/verdict_notifier.hpp"

#include "server/encoding.hpp"
#include "server/postgres.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "utils/json.h"
}

namespace pgleak {

namespace {

void append_text(StringInfo json, const char* key, const char* value) {
  appendStringInfo(json, ", \"%s\": ", key);
  escape_json(json, value);
}

void append_name(StringInfo json, const char* key, const char* name, int encoding) {
  append_text(json, key, to_database_encoding(name, static_cast<int>(strlen(name)), encoding));
}

// Any role may listen, so it says no client's address and nothing of a statement.
char* as_json(const VerdictNotice& notice) {
  const SessionIdentity& who = notice.who;
  StringInfoData json;
  initStringInfo(&json);
  appendStringInfo(&json, "{\"event\": \"verdict\", \"scope\": \"%s\"", to_string(notice.scope));
  if (notice.scope == PoolScope::kPool) {
    append_name(&json, "database", who.database, who.encoding);
    append_name(&json, "role", who.role, who.encoding);
    append_name(&json, "application_name", who.application_name, who.encoding);
  }
  append_text(&json, "verdict", to_string(notice.verdict));
  append_text(&json, "was", to_string(notice.before));
  appendStringInfo(&json, ", \"connections\": %d, \"in_use\": %d", notice.counts.connections, notice.used);
  if (notice.capacity > 0) appendStringInfo(&json, ", \"capacity\": %d", notice.capacity);
  appendStringInfo(&json, ", \"leaked\": %d}", notice.counts.leaked);
  return json.data;
}

}  // namespace

void notify_verdicts(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; i++) Async_Notify("pgleak", as_json(shared->pools.notices.peek(i)));
}

}  // namespace pgleak
