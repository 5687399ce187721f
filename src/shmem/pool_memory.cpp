#include "shmem/pool_memory.hpp"

#include <new>

#include "core/text.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "shmem/prepared_memory.hpp"

extern "C" {
#include "pgtime.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// Writes "10:02", with the date if it is not today.
void write_clock_time(char (&text)[kClockTextSize], WallTime time, WallTime now) {
  text[0] = '\0';
  if (!time.is_set()) return;
  const pg_time_t then = timestamptz_to_time_t(to_timestamp(time));
  const pg_time_t today = timestamptz_to_time_t(to_timestamp(now));
  const pg_tm* tm = pg_localtime(&today, session_timezone);
  if (tm == nullptr) return;
  const int year = tm->tm_year;
  const int day = tm->tm_yday;
  tm = pg_localtime(&then, session_timezone);
  if (tm == nullptr) return;
  const bool is_today = tm->tm_year == year && tm->tm_yday == day;
  pg_strftime(text, sizeof(text), is_today ? "%H:%M" : "%Y-%m-%d %H:%M", tm);
}

struct Entry {
  SeqLock<Pool> pool;
  SeqLock<PoolLimits> limits;
};
Entry* entries = nullptr;

}  // namespace

std::size_t pool_memory_size() { return mul_size(static_cast<Size>(pool_entry_count()), sizeof(Entry)); }

void create_pool_memory() {
  bool found = false;
  entries = static_cast<Entry*>(ShmemInitStruct("pgleak pools", pool_memory_size(), &found));
  if (found) return;
  for (int i = 0; i < pool_entry_count(); i++) new (&entries[i]) Entry();  // all zero
}

SeqLock<Pool>& pool_entry(int index) {
  Assert(index >= 0 && index < pool_entry_count());
  return entries[index].pool;
}

SeqLock<PoolLimits>& pool_limits(int index) {
  Assert(index >= 0 && index < pool_count());
  return entries[index].limits;
}

void write_advice(char (&advice)[kAdviceSize], const PoolState& state, PoolScope scope, AdviceReader reader) {
  const Blocker& blocker = state.waits.blocker;
  PreparedTransaction prepared{};
  AdviceFacts facts{};
  facts.now = wall_now();
  write_clock_time(facts.times.leaking_since, state.leaks.since, facts.now);
  write_clock_time(facts.times.silent_since, state.suspects.silent_since, facts.now);
  write_clock_time(facts.times.working_since, state.working_since, facts.now);
  write_clock_time(facts.times.exhausted_at, state.exhausted_at, facts.now);
  write_clock_time(facts.times.terminated_at, state.terminated.at, facts.now);
  facts.blocker.lock = reader.lock;
  facts.blocker.is_visible = reader.sees_blocker;
  const bool is_prepared = blocker.kind == Blocker::Kind::kPreparedTransaction;
  if (is_prepared && prepared_slot(blocker.place).listed.read(&prepared) && prepared.xid == blocker.xid) {
    facts.blocker.gid = prepared.gid;
    facts.blocker.database = prepared.database;
  }
  TextBuffer text(advice, sizeof(advice));
  append_advice(&text, state, scope, facts);
}

}  // namespace pgleak
