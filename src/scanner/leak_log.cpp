#include "scanner/leak_log.hpp"

#include "core/prepared.hpp"
#include "core/tags.hpp"
#include "core/text.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// Bytes; room for every key even if each byte of each name takes four bytes when escaped.
constexpr std::size_t kLineSize = 3072;

char line_buffer[kLineSize];
char* statement_buffer = nullptr;
std::size_t statement_buffer_size = 0;

void append_number_pair(TextBuffer* line, const char* key, std::int64_t number) {
  line->append(key);
  line->append("=");
  line->append_number(number);
}

void append_seconds_pair(TextBuffer* line, const char* key, Micros duration) {
  line->append(key);
  line->append("=");
  line->append_seconds(duration);
}

// What was asked for by hand has no limit.
void append_limit(TextBuffer* line, Micros limit) {
  if (limit == kNever)
    line->append("limit=none");
  else
    append_seconds_pair(line, "limit", limit);
  line->append(" ");
}

void append_client(TextBuffer* line, const SessionIdentity& who) {
  char client[kAddressSize + 16];
  TextBuffer text(client, sizeof(client));
  if (who.client_address[0] != '\0') {
    text.append(who.client_address);
    text.append(":");
    text.append_number(who.client_port);
  } else if (who.client_port == kPortUnixSocket) {
    text.append("local");
  }
  line->append_pair("client", text.c_str());
}

// The keys that start every line about an episode, in this order.
void append_identity(TextBuffer* line, const Episode& episode) {
  append_number_pair(line, "pid", episode.session.pid);
  line->append(" ");
  line->append_pair("database", episode.who.database);
  line->append(" ");
  line->append_pair("role", episode.who.role);
  line->append(" ");
  line->append_pair("application", episode.who.application_name);
  line->append(" ");
  append_client(line, episode.who);
  line->append(" ");
  line->append_pair("clock", to_string(episode.clock));
  line->append(" ");
}

void append_gid(TextBuffer* line, const char* gid) {
  if (gid[0] == '\0') return;
  line->append_pair("gid", gid);
  line->append(" ");
}

// The keys that start every line about a prepared transaction.
void append_prepared(TextBuffer* line, const Episode& episode, const char* gid) {
  append_number_pair(line, "xid", episode.progress.worst.xid);
  line->append(" ");
  append_gid(line, gid);
  line->append_pair("database", episode.who.database);
  line->append(" ");
  line->append_pair("role", episode.who.role);
  line->append(" ");
  line->append_pair("clock", to_string(episode.clock));
  line->append(" ");
}

// They are part of the statement, so pgleak.log_query covers them too.
void append_tags(TextBuffer* line, const Tags& tags) {
  char route[kRouteSize];
  char code[kCodeSize];
  if (write_route(tags, route)) {
    line->append_pair("route", route);
    line->append(" ");
  }
  if (!write_code(tags, code)) return;
  line->append_pair("code", code);
  line->append(" ");
}

// Appends the impact; keys without a value are left out.
void append_impact(TextBuffer* line, const ImpactSample& impact_now) {
  line->append_pair("impact", to_string(impact_now.impact));
  line->append(" ");
  if (impact_now.locks > 0) {
    append_number_pair(line, "locks", impact_now.locks);
    line->append(" ");
  }
  if (impact_now.xmin_age >= 0) {
    append_number_pair(line, "xmin_age", impact_now.xmin_age);
    line->append(" ");
  }
  if (impact_now.blocked > 0) {
    append_number_pair(line, "blocked", impact_now.blocked);
    line->append(" ");
    append_seconds_pair(line, "blocked_for", impact_now.blocked_for.value_or(Micros{0}));
    line->append(" ");
  }
}

// Of an episode that has ended; keys without a value are left out.
void append_effects(TextBuffer* line, const LeakEffects& effects) {
  if (effects.oldest_for > Micros{0}) {
    append_seconds_pair(line, "oldest_for", effects.oldest_for);
    line->append(" ");
  }
  if (effects.retained_bytes > 0) {
    append_number_pair(line, "retained_bytes", static_cast<std::int64_t>(effects.retained_bytes));
    line->append(" ");
    line->append_pair("slot", effects.slot_name);
    line->append(" ");
  }
  if (effects.has_queue_usage && effects.notify_queue_usage > 0) {
    char pair[40];
    snprintf(pair, sizeof(pair), "notify_queue_usage=%.3g ", static_cast<double>(effects.notify_queue_usage));
    line->append(pair);
  }
  if (effects.has_subxact_overflow) line->append("subxact_overflow=yes ");
}

}  // namespace

void prepare_leak_log() {
  statement_buffer_size =
      static_cast<std::size_t>(Max(pgstat_track_activity_query_size, kRemedySize)) * 4 + 1;
  statement_buffer = static_cast<char*>(MemoryContextAlloc(TopMemoryContext, statement_buffer_size));
}

void log_episode_opened(const Episode& episode, Micros age, const char* statement, const Tags& tags) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  append_seconds_pair(&line, "for", age);
  line.append(" ");
  append_limit(&line, episode.leak_after);
  line.append_pair("source", name_of(episode.limit_source, episode.rule_id).text);
  line.append(" ");
  line.append_pair("state", to_string(episode.state));
  line.append(" ");
  if (settings.log_query) append_tags(&line, tags);
  append_impact(&line, episode.progress.worst);
  append_number_pair(&line, "leak_id", episode.leak_id);

  TextBuffer detail(statement_buffer, statement_buffer_size);
  detail.append_escaped(statement, false);
  ereport(LOG, (errmsg("pgleak: session leak: %s", line.c_str()),
                settings.log_query ? errdetail("Last statement: %s", detail.c_str()) : 0));
}

void log_episode_blocking(const Episode& episode, const ImpactSample& impact_now) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  append_impact(&line, impact_now);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG, (errmsg("pgleak: session leak blocks others: %s", line.c_str())));
}

void log_episode_ended(const Episode& episode, const char* gid, Outcome outcome, Micros lasted) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  line.append_pair("outcome", to_string(outcome));
  line.append(" ");
  append_gid(&line, gid);
  append_seconds_pair(&line, "lasted", lasted);
  line.append(" ");
  append_impact(&line, episode.progress.worst);
  append_effects(&line, episode.progress.effects);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG, (errmsg("pgleak: session leak ended: %s", line.c_str())));
}

void log_action(const Episode& episode, const ImpactSample& impact_now, Action action,
                const ActionReason& reason, bool is_dry) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  append_seconds_pair(&line, "for", reason.lasted);
  line.append(" ");
  append_limit(&line, reason.limit);
  char source[kActionSourceSize];
  describe_source(reason.source, source);
  line.append_pair("source", source);
  line.append(" ");
  append_impact(&line, impact_now);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG, (errmsg("pgleak: %s %s: %s", is_dry ? "would" : "will", to_string(action), line.c_str())));
}

void log_action_result(const Episode& episode, Action action, ActionResult result) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  line.append_pair("result", to_string(result));
  line.append(" ");
  append_number_pair(&line, "leak_id", episode.leak_id);
  // A skipped session has become active or has ended, which is no cause for concern.
  const int level = result == ActionResult::kSkipped ? DEBUG1 : LOG;
  ereport(level, (errmsg("pgleak: %s: %s", to_string(action), line.c_str())));
}

void log_locks_left(const Episode& episode, const ImpactSample& impact_now) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_identity(&line, episode);
  append_impact(&line, impact_now);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG,
          (errmsg("pgleak: session still blocks others after the cancel: %s", line.c_str()),
           errdetail("A rollback does not free session-level advisory locks."),
           errhint("Use pgleak.terminate(%d) to end the connection and free them.", episode.session.pid)));
}

namespace {

// One line as well, so a remedy with control characters has to be taken from pgleak.leaks.
int hint_remedy(const Episode& episode, const char* gid) {
  char statement[kRemedySize];
  char database[4 * kNameSize];
  if (gid[0] == '\0') return errhint("See pg_prepared_xacts for its identifier.");
  write_remedy(gid, statement);
  TextBuffer text(statement_buffer, statement_buffer_size);
  TextBuffer name(database, sizeof(database));
  text.append_escaped(statement, false);
  name.append_escaped(episode.who.database, true);
  return errhint("In database \"%s\", use %s or COMMIT PREPARED.", name.c_str(), text.c_str());
}

}  // namespace

void log_prepared_opened(const Episode& episode, const char* gid, Micros age, bool is_resumed) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_prepared(&line, episode, gid);
  append_seconds_pair(&line, "for", age);
  line.append(" ");
  append_limit(&line, episode.leak_after);
  line.append_pair("source", name_of(episode.limit_source, episode.rule_id).text);
  line.append(" ");
  append_impact(&line, episode.progress.worst);
  append_number_pair(&line, "leak_id", episode.leak_id);
  if (is_resumed)
    ereport(LOG, (errmsg("pgleak: prepared transaction leak goes on after restart: %s", line.c_str()),
                  hint_remedy(episode, gid)));
  else
    ereport(LOG, (errmsg("pgleak: prepared transaction leak: %s", line.c_str()), hint_remedy(episode, gid)));
}

void log_prepared_blocking(const Episode& episode, const char* gid, const ImpactSample& impact_now) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_prepared(&line, episode, gid);
  append_impact(&line, impact_now);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG, (errmsg("pgleak: prepared transaction leak blocks others: %s", line.c_str()),
                hint_remedy(episode, gid)));
}

void log_prepared_ended(const Episode& episode, const char* gid, Outcome outcome, Micros lasted) {
  TextBuffer line(line_buffer, sizeof(line_buffer));
  append_prepared(&line, episode, gid);
  line.append_pair("outcome", to_string(outcome));
  line.append(" ");
  append_seconds_pair(&line, "lasted", lasted);
  line.append(" ");
  append_impact(&line, episode.progress.worst);
  append_effects(&line, episode.progress.effects);
  append_number_pair(&line, "leak_id", episode.leak_id);
  ereport(LOG, (errmsg("pgleak: prepared transaction leak ended: %s", line.c_str())));
}

}  // namespace pgleak
