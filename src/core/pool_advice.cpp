#include "core/pool_advice.hpp"

#include <cmath>

namespace pgleak {

namespace {

void append_share(TextBuffer* text, std::int32_t part, std::int32_t whole) {
  append_part(text, part, whole);
  text->append(part == 1 && whole < 2 ? " connection" : " connections");
}

void append_since(TextBuffer* text, const char* time) {
  if (time[0] == '\0') return;
  text->append(" since ");
  text->append(time);
}

bool has_place(const LeakSummary& leaks) { return leaks.code[0] != '\0' || leaks.route[0] != '\0'; }

// An id is shown as a signed number, as in pg_stat_statements.
void append_query(TextBuffer* text, const LeakSummary& leaks) {
  if (has_place(leaks)) return;  // says more
  if (leaks.statement[0] == '\0' && leaks.query_id == 0) return;
  text->append(leaks.count > 1 ? ", all last ran " : ", it last ran ");
  if (leaks.statement[0] != '\0') {
    text->append_escaped(leaks.statement, false);
    if (leaks.query_id == 0) return;
    text->append(" (query ");
  } else {
    text->append("query ");
  }
  text->append_number(static_cast<std::int64_t>(leaks.query_id));
  if (leaks.statement[0] != '\0') text->append(")");
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
  if (state.full_since.is_set() && state.exhausted_at == state.full_since) {
    text->append(", nothing has been free since ");
  } else {
    text->append(", at ");
    append_rate(text, state.leaks_per_hour);
    text->append(" more an hour nothing will be free at ");
  }
  text->append(times.exhausted_at);
}

// Where the leaks come from: "app/orders.py:42 get_orders (route /orders)", or "the route /orders".
void append_place(TextBuffer* text, const LeakSummary& leaks) {
  const bool has_code = leaks.code[0] != '\0';
  const bool has_route = leaks.route[0] != '\0';
  if (has_code) text->append_escaped(leaks.code, false);
  if (has_route) {
    text->append(has_code ? " (route " : "the route ");
    text->append_escaped(leaks.route, false);
    if (has_code) text->append(")");
  }
  if (has_place(leaks)) return;
  const bool is_one_statement = leaks.statement[0] != '\0' || leaks.query_id != 0;
  text->append(is_one_statement ? "the code that runs it" : "the code that leaves them");
}

// What to fix: the more the leaks have in common, the more specific.
void append_culprit(TextBuffer* text, const LeakSummary& leaks) {
  const bool is_known = has_place(leaks) || leaks.statement[0] != '\0' || leaks.query_id != 0;
  text->append(is_known ? "; fix " : "; see pgleak.leaks and fix ");
  append_place(text, leaks);
}

void append_lost(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  append_query(text, state.leaks);
  append_forecast(text, state, times);
  append_culprit(text, state.leaks);
  if (is_of_application(scope) && state.verdict == Verdict::kLeaking)
    text->append(" before raising the pool size");
}

void append_slow(TextBuffer* text, const PoolState& state) {
  const LeakEnds ends = state.ends.sum();
  text->append("; ");
  append_part(text, ends.committed, ends.count);
  text->append(" earlier leaks committed: slow requests, not lost connections; shorten the transactions of ");
  append_place(text, state.leaks);
}

void append_leaks(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  const std::int32_t leaked = state.counts.leaked;
  append_share(text, leaked, scope == PoolScope::kOther ? state.counts.connections : state.capacity);
  if (state.pattern == LeakPattern::kNested) {
    text->append(" have run nothing but BEGIN");
    append_since(text, times.leaking_since);
    text->append(
        ", all within a second: each seems to wait for a second connection of the same pool; raise the pool "
        "size, or take no second connection within a transaction");
    return;
  }
  text->append(leaked == 1 ? " is" : " are");
  text->append(state.leaks.idle == leaked ? " idle in transaction" : " leaked");
  append_since(text, times.leaking_since);
  if (state.pattern == LeakPattern::kProbe) {
    text->append(" after the same ");
    text->append_escaped(state.leaks.probe[0] != '\0' ? state.leaks.probe : "statement", false);
    text->append(
        ", which reads no table: the pool's own test query seems to open a transaction when a connection is "
        "free; run it in autocommit mode, or roll back after it");
  } else if (state.pattern == LeakPattern::kSlow) {
    append_query(text, state.leaks);
    append_slow(text, state);
  } else {
    append_lost(text, state, scope, times);
  }
}

// "0.7 s", "0.05 s".
void append_mean(TextBuffer* text, double microseconds) {
  const std::int64_t hundredths = std::llround(microseconds / 10000);
  text->append_number(hundredths / 100);
  if (hundredths % 100 != 0) {
    text->append(hundredths % 100 < 10 ? ".0" : ".");
    text->append_number(hundredths % 10 == 0 ? hundredths % 100 / 10 : hundredths % 100);
  }
  text->append(" s");
}

// Half of the connections in use do nothing in the database.
bool works_elsewhere(const PoolState& state) {
  return state.mean_idle >= 1 && state.mean_idle * 2 >= state.mean_used;
}

void append_work_elsewhere(TextBuffer* text, const PoolState& state) {
  const std::int32_t idle = static_cast<std::int32_t>(std::llround(state.mean_idle));
  text->append(", but ");
  text->append_number(idle);
  text->append(idle == 1 ? " is idle in transaction, for " : " are idle in transaction, for ");
  append_mean(text, state.mean_idle_us);
  text->append(
      " on average: the application works outside of the database within its transactions; shorten these "
      "before raising the pool size");
}

void append_undersized(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times) {
  append_share(text, state.used_of_capacity, state.capacity);
  text->append(scope == PoolScope::kServer ? " are taken, " : " are in use, ");
  if (scope == PoolScope::kServer) {
    text->append_number(state.counts.idle);
    text->append(" of them idle, ");
  }
  text->append("busy since ");
  text->append(times.working_since);
  if (state.counts.leaked == 0)
    text->append(", none of them leaks");
  else if (state.pattern != LeakPattern::kSlow) {
    text->append(", only ");
    text->append_number(state.counts.leaked);
    text->append(state.counts.leaked == 1 ? " of them leaks" : " of them leak");
  }
  if (scope == PoolScope::kServer)
    text->append("; make the applications' pools smaller, or raise max_connections");
  else if (state.pattern == LeakPattern::kSlow)
    append_slow(text, state);
  else if (works_elsewhere(state))
    append_work_elsewhere(text, state);
  else
    text->append("; raise the pool size, or make its transactions shorter");
}

// No pool that pgleak was tried with hears of a terminate, except asyncpg's.
void append_terminated(TextBuffer* text, const LostToTerminate& lost, const AdviceTimes& times) {
  text->append_number(lost.missing);
  text->append(lost.missing == 1 ? " connection fewer" : " connections fewer");
  text->append(" since the terminate at ");
  text->append(times.terminated_at);
  text->append(
      "; the application's pool still counts them as in use, unless it has noticed: give them back there, or "
      "replace the pool");
}

void append_suspects(TextBuffer* text, const SuspectSummary& suspects) {
  text->append_number(suspects.count);
  text->append(suspects.count == 1 ? " idle connection was" : " idle connections were");
  text->append(" passed over when the pool opened newer ones: ");
  text->append(suspects.count == 1 ? "it" : "they");
  text->append(" may be checked out and forgotten outside of a transaction (a guess, not a leak)");
}

void append_silence(TextBuffer* text, const SuspectSummary& suspects, const AdviceTimes& times) {
  append_part(text, suspects.count, suspects.count);
  text->append(" connections idle since ");
  text->append(times.silent_since);
  text->append(", before that ");
  text->append_number(suspects.rate_before);
  text->append(suspects.rate_before == 1 ? " transaction" : " transactions");
  text->append(
      " a second: all of them may be checked out and forgotten outside of a transaction (a guess, not a "
      "leak)");
}

}  // namespace

void append_part(TextBuffer* text, std::int32_t part, std::int32_t whole) {
  text->append_number(part);
  if (whole < part) return;
  text->append(" of ");
  text->append_number(whole);
}

void append_advice(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceFacts& facts) {
  const auto separate = [text] {
    if (text->length() > 0) text->append("; ");
  };
  if (state.verdict == Verdict::kBlocked) append_blocked(text, state, facts);
  if (state.verdict == Verdict::kUndersized) {
    append_undersized(text, state, scope, facts.times);
  } else if (state.counts.leaked > 0) {
    separate();
    append_leaks(text, state, scope, facts.times);
  }
  if (state.verdict == Verdict::kLeaking && state.waits.is_blocked()) {
    separate();
    append_blocked(text, state, facts);
  }
  if (state.terminated.missing > 0) {
    separate();
    append_terminated(text, state.terminated, facts.times);
  }
  if (state.suspects.count == 0) return;
  separate();
  if (state.suspects.silent_since.is_set())
    append_silence(text, state.suspects, facts.times);
  else
    append_suspects(text, state.suspects);
}

}  // namespace pgleak
