// The C functions behind the view pgleak.idle_times and pgleak.choose_limits().
//
// Any session may call the first one, which checks permissions beyond GRANT itself; the other one is for
// those who may see all pools. They read shared memory and take no lock.

#include <cstdint>
#include <optional>

#include "core/idle_times.hpp"
#include "core/limit_advice.hpp"
#include "core/rules.hpp"
#include "functions/functions.hpp"
#include "functions/pool_rows.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/row.hpp"
#include "pg/settings.hpp"
#include "shmem/idle_memory.hpp"
#include "shmem/pool_memory.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "funcapi.h"
#include "mb/pg_wchar.h"

PG_FUNCTION_INFO_V1(pgleak_read_idle_times);
PG_FUNCTION_INFO_V1(pgleak_choose_limits);
}

namespace pgleak {

namespace {

// No entry of a pool from there on has ever been used.
int used_entries() { return shared->pools.end.load(std::memory_order_acquire); }

// A pool and its idle times. An entry that has just been given to another pool has none.
bool read_entry(int index, Pool* pool, PoolIdleTimes* idle) {
  if (idle_memory == nullptr) return false;
  return pool_entry(index).read(pool) && pool->is_used && pool->scope != PoolScope::kApplication &&
         pool_idle_times(index).read(idle);
}

// The columns of pgleak.read_idle_times(), in its order.
void add_idle_times(Row* row, const Pool& pool, const PoolIdleTimes& idle) {
  const bool is_visible = may_see_pool(pool);
  const IdleTimes& times = idle.times;
  const std::uint64_t count = times.count();

  add_pool_identity(row, pool, is_visible);
  if (is_visible) {
    row->add_int64(static_cast<std::int64_t>(count));
    row->add_duration(count > 0 ? std::optional(times.total) : std::nullopt);
    for (const double rank : {0.5, 0.95, 0.99}) row->add_duration(times.quantile(rank));
    row->add_duration(count > 0 ? std::optional(times.longest) : std::nullopt);
    idle.used > 0 ? row->add_double(static_cast<double>(idle.idle) / static_cast<double>(idle.used))
                  : row->add_null();
    row->add_time(idle.since);
  } else {
    row->add_nulls(8);
  }
  row->add_text(to_string(pool.scope));
}

// What choose_limits() works with; too large for the stack.
struct Workspace {
  RuleSet rules;
  int count;
  Pool* pools;
  PoolLabel* labels;
  PoolIdleness* idleness;
};

template <typename Element>
Element* allocate_per_entry() {
  return static_cast<Element*>(
      MemoryContextAllocHuge(CurrentMemoryContext, static_cast<Size>(pool_entry_count()) * sizeof(Element)));
}

// Allocated in the current memory context.
Workspace* make_workspace() {
  Workspace* const space = static_cast<Workspace*>(palloc0(sizeof(Workspace)));
  space->pools = allocate_per_entry<Pool>();
  space->labels = allocate_per_entry<PoolLabel>();
  space->idleness = allocate_per_entry<PoolIdleness>();
  return space;
}

void add_pool(Workspace* space, int index) {
  PoolIdleTimes idle;
  const int place = space->count;
  Pool* const pool = &space->pools[place];
  if (!read_entry(index, pool, &idle) || idle.times.count() == 0) return;
  space->labels[place] = pool_label(make_pool_key(pool->database_oid, pool->who));
  space->idleness[place] =
      describe_idleness(index == other_pool() ? "other" : pool->who.application_name, idle.times);
  space->count++;
}

// A rule that needs an impact leaves the server's limits in force below it.
void note_rules(Workspace* space) {
  const WallTime now = wall_now();
  if (!read_rules(&space->rules)) return;
  for (int i = 0; i < space->count; i++) {
    const Match match = match_pool(space->rules, space->pools[i].who, now);
    for (int rule = match.rules.next(0); rule < kMaxRules; rule = match.rules.next(rule + 1))
      if (space->rules.rules[rule].min_impact == Impact::kNone)
        note_exemption(&space->idleness[i], space->rules.rules[rule].limits.limits);
  }
}

// The settings of a role, a database or a session, as far as a session of the pool is there.
void note_own_limits(Workspace* space) {
  for (int slot = 0; slot < shared->slot_count; slot++) {
    StatusEntry entry{};
    BackendOwner owner;
    SessionIdentity who{};
    if (read_status(slot, &entry) != StatusRead::kDone || !entry.is_client_backend) continue;
    if (!session_slot(slot).backend.read_owner(entry.id, &owner)) continue;
    if (!read_status_strings(slot, entry.id, &who, nullptr, 0, nullptr)) continue;
    const PoolLabel label = pool_label(make_pool_key(entry.database_oid, who));
    for (int i = 0; i < space->count; i++)
      if (space->labels[i] == label)
        note_exemption(&space->idleness[i], session_slot(slot).backend.own_limits());
  }
}

IdlenessFacts read_facts(Workspace* space) {
  for (int i = 0; i < used_entries(); i++) add_pool(space, i);
  add_pool(space, other_pool());
  note_rules(space);
  note_own_limits(space);
  IdlenessFacts facts{space->idleness, space->count, Micros{0}};
  PoolIdleTimes server;
  if (pool_idle_times(server_pool()).read(&server))
    facts.watched_for = time_since(server.since, wall_now()).value_or(Micros{0});
  return facts;
}

constexpr std::size_t kReasonTextSize = 512;

void add_limit(Row* row, std::optional<Micros> limit) {
  char buffer[32];
  TextBuffer text(buffer, sizeof(buffer));
  if (limit) append_limit(&text, *limit);
  row->add_text(limit ? buffer : nullptr);
}

}  // namespace

void read_idle_times(ReturnSetInfo* result) {
  const auto add_entry = [result](int index) {
    Pool pool;
    PoolIdleTimes idle;
    if (!read_entry(index, &pool, &idle)) return;
    if (pool.scope == PoolScope::kOther && idle.times.count() == 0) return;
    Row row(result);
    add_idle_times(&row, pool, idle);
    row.finish();
  };
  for (int i = 0; i < used_entries(); i++) add_entry(i);
  add_entry(other_pool());
  add_entry(server_pool());
}

void choose_limits(ReturnSetInfo* result) {
  Workspace* const space = make_workspace();
  const bool is_tracked = idle_memory != nullptr;
  const IdlenessFacts facts = is_tracked ? read_facts(space) : IdlenessFacts{};
  LimitValues current{};
  for (int i = 0; i < kLimitCount; i++)
    current.value[i] = shared->server_limits[i].load(std::memory_order_relaxed);

  for (int i = 0; i < kLimitCount; i++) {
    char buffer[kReasonTextSize];
    TextBuffer reason(buffer, sizeof(buffer));
    std::optional<Micros> suggested;
    if (is_tracked)
      suggested = suggest_limit(i, facts, current, &reason);
    else
      reason.append("pgleak.track_idle_times is off");
    Row row(result);
    row.add_text(limit_setting_name(i));
    add_limit(&row, current.value[i]);
    add_limit(&row, suggested);
    row.add_foreign_text(buffer, PG_SQL_ASCII);
    row.finish();
  }
}

}  // namespace pgleak

Datum pgleak_read_idle_times(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_idle_times(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}

Datum pgleak_choose_limits(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::choose_limits(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}
