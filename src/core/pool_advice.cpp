#include "core/pool_advice.hpp"

#include <cmath>

namespace pgleak {

namespace {

// "14 of 15 connections"; omits the total where it is unknown.
void append_share(TextBuffer* text, std::int32_t part, std::int32_t whole) {
  text->append_number(part);
  if (whole >= part) {
    text->append(" of ");
    text->append_number(whole);
  }
  text->append(part == 1 && whole < 2 ? " connection" : " connections");
}

// Shown as a signed number, as in pg_stat_statements.
void append_query(TextBuffer* text, const LeakSummary& leaks) {
  if (leaks.query_id == 0) return;
  text->append(leaks.count > 1 ? ", all last ran query " : ", its last statement was query ");
  text->append_number(static_cast<std::int64_t>(leaks.query_id));
}

void append_rate(TextBuffer* text, double per_hour) {
  const std::int64_t tenths = std::llround(per_hour * 10);
  text->append_number(tenths / 10);
  if (tenths < 1000 && tenths % 10 != 0) {
    text->append(".");
    text->append_number(tenths % 10);
  }
}

void append_forecast(TextBuffer* text, const PoolState& state, const AdviceTimes& times) {
  if (times.exhausted_at[0] == '\0') return;
  if (state.full_since.is_set()) {
    text->append(", nothing has been free since ");
  } else {
    text->append(", at ");
    append_rate(text, state.leaks_per_hour);
    text->append(" more an hour nothing will be free at ");
  }
  text->append(times.exhausted_at);
}

// What to fix: the more the leaks have in common, the more specific.
void append_culprit(TextBuffer* text, const LeakSummary& leaks) {
  if (leaks.route[0] != '\0') {
    text->append("; fix the route ");
    text->append_escaped(leaks.route, false);
    return;
  }
  text->append(leaks.query_id != 0 ? "; fix the code that runs it"
                                   : "; see pgleak.leaks and fix the code that leaves them");
}

void append_leaks(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  const std::int32_t leaked = state.counts.leaked;
  append_share(text, leaked, scope == PoolScope::kOther ? state.counts.connections : state.capacity);
  text->append(leaked == 1 ? " is" : " are");
  text->append(state.leaks.idle == leaked ? " idle in transaction" : " leaked");
  if (times.leaking_since[0] != '\0') {
    text->append(" since ");
    text->append(times.leaking_since);
  }
  append_query(text, state.leaks);
  append_forecast(text, state, times);
  append_culprit(text, state.leaks);
  if (scope == PoolScope::kPool && state.verdict == Verdict::kLeaking)
    text->append(" before raising the pool size");
}

void append_undersized(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  append_share(text, state.used_of_capacity, state.capacity);
  text->append(scope == PoolScope::kServer ? " are taken, " : " are in use, ");
  if (scope == PoolScope::kServer) {
    text->append_number(state.counts.idle);
    text->append(" of them idle, ");
  }
  text->append("busy since ");
  text->append(times.busy_since);
  if (state.counts.leaked == 0)
    text->append(", none of them leaks");
  else {
    text->append(", only ");
    text->append_number(state.counts.leaked);
    text->append(state.counts.leaked == 1 ? " of them leaks" : " of them leak");
  }
  text->append(scope == PoolScope::kServer
                   ? "; make the applications' pools smaller, or raise max_connections"
                   : "; raise the pool size, or make its transactions shorter");
}

void append_suspects(TextBuffer* text, const SuspectSummary& suspects) {
  text->append_number(suspects.count);
  text->append(suspects.count == 1 ? " idle connection was" : " idle connections were");
  text->append(" passed over when the pool opened newer ones: ");
  text->append(suspects.count == 1 ? "it" : "they");
  text->append(" may be checked out and forgotten outside of a transaction (a guess, not a leak)");
}

}  // namespace

void append_advice(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  if (state.verdict == Verdict::kUndersized)
    append_undersized(text, state, scope, times);
  else if (state.counts.leaked > 0)
    append_leaks(text, state, scope, times);
  if (state.suspects.count == 0) return;
  if (text->length() > 0) text->append("; ");
  append_suspects(text, state.suspects);
}

}  // namespace pgleak
