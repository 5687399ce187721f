#include "server/pool_log.hpp"

#include "core/text.hpp"
#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/postgres.hpp"
#include "server/settings.hpp"

extern "C" {
#include "pgtime.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// Enough for every key with every name escaped at its worst, four bytes for one.
constexpr std::size_t kLineSize = 2048;

// "10:02", and with its date if that is not today's.
void write_clock_time(char (&text)[kClockTextSize], WallTime time, WallTime now) {
  text[0] = '\0';
  if (time == 0) return;
  const pg_time_t then = timestamptz_to_time_t(time);
  const pg_time_t today = timestamptz_to_time_t(now);
  const pg_tm* tm = pg_localtime(&today, session_timezone);
  if (tm == nullptr) return;
  const int year = tm->tm_year;
  const int day = tm->tm_yday;
  tm = pg_localtime(&then, session_timezone);
  if (tm == nullptr) return;
  const bool is_today = tm->tm_year == year && tm->tm_yday == day;
  pg_strftime(text, sizeof(text), is_today ? "%H:%M" : "%Y-%m-%d %H:%M", tm);
}

void append_number_pair(TextBuffer* line, const char* key, std::int64_t number) {
  line->append(" ");
  line->append(key);
  line->append("=");
  line->append_number(number);
}

void append_text_pair(TextBuffer* line, const char* key, const char* value) {
  line->append(" ");
  line->append_pair(key, value);
}

void append_pool(TextBuffer* line, const Pool& pool, PoolScope scope) {
  if (scope != PoolScope::kPool) return;
  append_text_pair(line, "database", pool.who.database);
  append_text_pair(line, "role", pool.who.role);
  append_text_pair(line, "application", pool.who.application_name);
  append_text_pair(line, "client", pool.who.client_address[0] != '\0' ? pool.who.client_address : "local");
}

}  // namespace

PoolScope pool_scope(int index) {
  if (index == kServerPool) return PoolScope::kServer;
  return index == kOtherPool ? PoolScope::kOther : PoolScope::kPool;
}

void write_advice(char (&advice)[kAdviceSize], const PoolState& state, PoolScope scope) {
  const WallTime now = read_clocks().wall;
  AdviceTimes times;
  write_clock_time(times.leaking_since, state.leaks.since, now);
  write_clock_time(times.busy_since, state.busy_since, now);
  write_clock_time(times.exhausted_at, state.exhausted_at, now);
  TextBuffer text(advice, sizeof(advice));
  append_advice(&text, state, scope, times);
}

void log_verdict(const Pool& pool, PoolScope scope, Verdict before) {
  static char line_buffer[kLineSize];
  static char advice[kAdviceSize];
  const PoolState& state = pool.state;

  TextBuffer line(line_buffer, sizeof(line_buffer));
  line.append_pair("scope", to_string(scope));
  append_pool(&line, pool, scope);
  append_text_pair(&line, "verdict", to_string(state.verdict));
  append_text_pair(&line, "was", to_string(before));
  append_number_pair(&line, "connections", state.counts.connections);
  append_number_pair(&line, "in_use", state.used_of_capacity);
  append_number_pair(&line, "capacity", state.capacity);
  append_number_pair(&line, "leaked", state.counts.leaked);

  PoolState told = state;
  if (!settings.log_query) told.leaks.route[0] = '\0';  // it is part of a statement
  write_advice(advice, told, scope);
  ereport(LOG, (errmsg("pgleak: pool verdict: %s", line.c_str()),
                advice[0] != '\0' ? errdetail("%s.", advice) : 0));
}

}  // namespace pgleak
