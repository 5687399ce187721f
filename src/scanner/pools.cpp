#include "scanner/pools.hpp"

#include <initializer_list>
#include <optional>

#include "core/pool.hpp"
#include "core/pool_table.hpp"
#include "core/text.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/lock_names.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "scanner/idle_times.hpp"
#include "shmem/pool_memory.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xlog.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr Micros kSampleInterval = kSecond;
// Sampling slightly early is better than waiting for the next scan.
constexpr Micros kTolerance = 10 * kMillisecond;

// Adds up what all pools of a role, or of a database, use of its limit.
void add_up_usage() {
  for (OidTable<Together>* table : {&sampler->by_role, &sampler->by_database}) table->clear();
  for (int i = 0; i < sampler->table.end(); i++) {
    const Pool& pool = pool_entry(i).current();
    const PoolSample& sample = sampler->collected[i].sample;
    if (!pool.is_used || pool.scope != PoolScope::kPool) continue;
    for (Together* all :
         {&sampler->by_role.at(pool.who.role_oid), &sampler->by_database.at(pool.database_oid)}) {
      all->used += sample.counts.in_use();
      all->waiting += sample.waiting;
    }
  }
}

// Picks the limit with the larger share in use.
void apply_limits(int index, const Pool& pool, PoolSample* sample) {
  PoolLimits limits;
  if (!pool_limits(index).read(&limits)) return;
  if (limits.database_oid != pool.database_oid || limits.role_oid != pool.who.role_oid) return;
  for (const bool by_role : {true, false}) {
    const std::int32_t limit = by_role ? limits.role_limit : limits.database_limit;
    if (limit == 0) continue;
    const Together& all =
        by_role ? sampler->by_role.at(pool.who.role_oid) : sampler->by_database.at(pool.database_oid);
    const bool is_tighter =
        sample->limit == 0 || static_cast<std::int64_t>(all.used) * sample->limit >
                                  static_cast<std::int64_t>(sample->used_of_limit) * limit;
    if (!is_tighter) continue;
    sample->limit = limit;
    sample->used_of_limit = all.used;
    sample->waiting_of_limit = all.waiting;
  }
}

// True if no session of the previous sample is left and they were at least half of the pool's peak: the
// application was restarted.
bool has_restarted(int index, const PoolState& state, MonotonicTime now) {
  return sampler->has_sampled && !is_shared(sampler->activities[index], now) &&
         sampler->collected[index].survivors == 0 && state.counts.connections >= 2 &&
         state.counts.connections * 2 >= state.peak;
}

// Bytes; room for every key even if each byte of each name takes four bytes when escaped.
constexpr std::size_t kLineSize = 2048;

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

void append_pool(TextBuffer* line, const Pool& pool) {
  if (!is_of_application(pool.scope)) return;
  append_text_pair(line, "database", pool.who.database);
  append_text_pair(line, "role", pool.who.role);
  append_text_pair(line, "application", pool.who.application_name);
  if (pool.scope == PoolScope::kApplication) return;
  append_text_pair(line, "client", pool.who.client_address[0] != '\0' ? pool.who.client_address : "local");
}

// What the pool's blocker holds. The scanner is connected to no database, so relations are numbers.
const char* blocker_lock(const PoolState& state) {
  static char lock[kLockTextSize];
  const Blocker& blocker = state.waits.blocker;
  if (blocker.kind == Blocker::Kind::kNone) return nullptr;
  write_lock(tag_of(blocker.lock), blocker.mode, nullptr, lock);
  return lock;
}

// Logs that the verdict on a pool has changed. The text is advice, so it goes into the DETAIL.
void log_verdict(const Pool& pool, Verdict before) {
  static char line_buffer[kLineSize];
  static char advice[kAdviceSize];
  const PoolState& state = pool.state;

  TextBuffer line(line_buffer, sizeof(line_buffer));
  line.append_pair("scope", to_string(pool.scope));
  append_pool(&line, pool);
  append_text_pair(&line, "verdict", to_string(state.verdict));
  append_text_pair(&line, "was", to_string(before));
  append_number_pair(&line, "connections", state.counts.connections);
  append_number_pair(&line, "in_use", state.used_of_capacity);
  append_number_pair(&line, "capacity", state.capacity);
  append_number_pair(&line, "leaked", state.counts.leaked);
  append_number_pair(&line, "waiting", state.counts.waiting);

  PoolState told = state;
  // The route is part of a statement.
  if (!settings.log_query) told.leaks.route[0] = told.leaks.statement[0] = told.leaks.probe[0] = '\0';
  write_advice(advice, told, pool.scope, AdviceReader{blocker_lock(told), true});
  ereport(LOG, (errmsg("pgleak: pool verdict: %s", line.c_str()),
                advice[0] != '\0' ? errdetail("%s.", advice) : 0));
}

void report_verdict(int index, Verdict before) {
  const Pool& pool = pool_entry(index).current();
  log_verdict(pool, before);
  // A standby would send its notifications only after its promotion, when they are stale.
  if (RecoveryInProgress()) return;
  shared->pools.verdict_queue.put(VerdictChange{pool.scope, pool.who, pool.state.verdict, before,
                                                pool.state.counts, pool.state.used_of_capacity,
                                                pool.state.capacity});
  wake_worker(shared->recorder_proc);
}

void judge_entry(int index, const PoolSample& sample, const PoolRules& rules, Now now) {
  std::optional<Verdict> before;
  pool_entry(index).write([&](Pool* pool) {
    pool->is_used = true;
    pool->scope = sample.scope;
    observe_pool(&pool->state, sample, rules, now);
    before = take_announcement(&pool->state, now.monotonic);
  });
  if (before) report_verdict(index, *before);
}

void show_name(int index, const char* name) {
  if (strcmp(pool_entry(index).current().who.application_name, name) == 0) return;
  pool_entry(index).write([name](Pool* pool) { strlcpy(pool->who.application_name, name, kNameSize); });
}

// A name that several sessions share is not one that each connection makes up: an owner looks for
// the pool by that name, even if there is a process id in it.
void choose_name(int index, const Collected& collected) {
  SharedName& shared_name = sampler->names[index];
  shared_name.has_differed |= collected.names_differ;
  const Pool& pool = pool_entry(index).current();
  if (shared_name.has_differed)
    show_name(index, make_pool_key(pool.database_oid, pool.who).application_name);
  else if (collected.sample.counts.connections >= 2 && shared_name.who_hash == collected.who_hash)
    show_name(index, shared_name.name);
}

// All connections of a pool that has fallen silent are suspects.
void watch_silence(PoolActivity* activity, PoolSample* sample, Micros suspect_after, Now now) {
  const PoolCounts& counts = sample->counts;
  PoolSilence& silence = activity->silence;
  if (is_shared(*activity, now.monotonic)) silence = PoolSilence{};
  observe_silence(&silence, PoolTurnover{counts.connections, counts.idle, sample->transactions},
                  suspect_after, now);
  if (!silence.has_fallen_silent) return;
  sample->suspects =
      SuspectSummary{counts.connections, now.monotonic - silence.silent_on, silence.silent_since,
                     Max(static_cast<std::int32_t>(silence.rate + 0.5), 1)};
}

void judge_pool(int index, const PoolRules& rules, Micros suspect_after, Now now) {
  const Pool& pool = pool_entry(index).current();
  Collected& collected = sampler->collected[index];
  PoolSample& sample = collected.sample;
  if (pool.scope == PoolScope::kPool) choose_name(index, collected);
  sample.scope = pool.scope;
  sample.used = sample.counts.in_use();
  sample.has_restarted = has_restarted(index, pool.state, now.monotonic);
  if (sample.has_restarted) sampler->activities[index] = PoolActivity{};
  apply_limits(index, pool, &sample);
  watch_silence(&sampler->activities[index], &sample, suspect_after, now);
  judge_entry(index, sample, rules, now);
  observe_activity(&sampler->activities[index], collected.observation, now.monotonic);
  if (sampler->table.keep(index, sample.counts.connections, now.monotonic)) return;
  pool_entry(index).write([](Pool* entry) { entry->is_used = false; });
  forget_application(index);
}

void judge_pools(const PoolRules& rules, Micros suspect_after, Now now) {
  add_up_usage();
  add_up_applications();
  for (int i = 0; i < sampler->table.end(); i++)
    if (pool_entry(i).current().is_used) judge_pool(i, rules, suspect_after, now);

  PoolSample& other = sampler->collected[other_pool()].sample;
  other.used = other.counts.in_use();
  other.scope = PoolScope::kOther;
  judge_entry(other_pool(), other, rules, now);

  PoolSample& server = sampler->collected[server_pool()].sample;
  server.scope = PoolScope::kServer;
  server.used = server.counts.connections;
  server.limit = compat::ordinary_connection_limit();
  server.used_of_limit = server.used;
  server.waiting_of_limit = server.waiting;
  judge_entry(server_pool(), server, rules, now);
}

void* allocate_bytes(Size size) {
  return MemoryContextAllocExtended(TopMemoryContext, size, MCXT_ALLOC_ZERO | MCXT_ALLOC_HUGE);
}

template <typename Element>
Element* allocate(int count) {
  return static_cast<Element*>(allocate_bytes(static_cast<Size>(count) * sizeof(Element)));
}

// The pools in shared memory are either none, in the first scanner since the server started, or those of an
// earlier scanner.
void find_known_pools() {
  for (int i = 0; i < shared->pools.end.load(std::memory_order_relaxed); i++) {
    const Pool& pool = pool_entry(i).current();
    if (!pool.is_used) continue;
    const PoolKey key = make_pool_key(pool.database_oid, pool.who);
    sampler->table.restore(i, pool.scope == PoolScope::kApplication ? application_key(key) : key);
    start_idle_times(i, key, false);
  }
}

}  // namespace

void prepare_pools() {
  const int pools = pool_count();
  sampler = allocate<Sampler>(1);
  sampler->tracks = allocate<SessionTrack>(shared->slot_count);
  sampler->origins = allocate<KnownOrigin>(shared->slot_count);
  sampler->trail = allocate<TrailEntry>(kMaxTrailSize);
  sampler->applications = allocate<std::int32_t>(pools);
  for (int i = 0; i < pools; i++) sampler->applications[i] = kNoPool;
  sampler->names = allocate<SharedName>(pools);
  sampler->activities = allocate<PoolActivity>(pools);
  sampler->collected = allocate<Collected>(pool_entry_count());
  sampler->waits = allocate<SeenWaits>(pool_entry_count());
  sampler->table.initialize(allocate_bytes(PoolTable::size_in_memory(pools)), pools);
  for (OidTable<Together>* table : {&sampler->by_role, &sampler->by_database})
    table->initialize(allocate_bytes(OidTable<Together>::size_in_memory(pools)), pools);
  sampler->statement = static_cast<char*>(
      MemoryContextAlloc(TopMemoryContext, static_cast<Size>(pgstat_track_activity_query_size)));
  for (int i = 0; i < shared->slot_count; i++) {
    sampler->tracks[i].pool = kNoPool;
    sampler->tracks[i].version = kNotRead;
  }
  prepare_idle_times();
  find_known_pools();
}

void sample_pools(const ScanContext& scan) {
  Assert(is_scanner());
  const MonotonicTime now = scan.now.monotonic;
  note_waits(scan);
  if (now + kTolerance < sampler->next_on) return;
  sampler->next_on = Max(sampler->next_on, now) + kSampleInterval;

  for (int i = 0; i < sampler->table.end(); i++) sampler->collected[i] = Collected{};
  for (const int i : {other_pool(), server_pool()}) sampler->collected[i] = Collected{};
  const Micros suspect_after = scan.inputs.server_limits.value[limit_index(Clock::kIdle, LimitKind::kLeak)];
  collect_ended_episodes();
  for (int i = 0; i < shared->slot_count; i++) collect_session(i, suspect_after, scan.now);
  collect_waits();
  judge_pools(PoolRules{settings.pool_busy_percent, from_milliseconds(settings.pool_busy_after)},
              suspect_after, scan.now);
  sampler->has_sampled = true;
  collect_idle_times(scan);
}

}  // namespace pgleak
