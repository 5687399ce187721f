#include <optional>

#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/lock_names.hpp"
#include "pg/lock_table.hpp"
#include "pg/lock_waits.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_proc.hpp"
#include "scanner/pools.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

namespace {

// One search for blockers visits at most this many waiting sessions, however many roots each is behind. The
// pools of the others keep the blocker that they had.
constexpr int kMostVisits = 20000;

constexpr int kNoRoot = -1;

std::optional<int> slot_of(int node) {
  if (prepared_place_of(node) >= 0) return std::nullopt;
  const int index = compat::status_index_of(&ProcGlobal->allProcs[node]);
  return index >= 0 && index < shared->slot_count ? std::optional(index) : std::nullopt;
}

// The pool of a session, as of the last sample; kNoPool if it is no client, or not known yet.
int pool_of(const LockWaits& waits, int node) {
  const std::optional<int> index = slot_of(node);
  if (!index) return kNoPool;
  const SessionTrack& track = sampler->tracks[*index];
  return track.id.pid != 0 && track.id.pid == waits.process(node).pid ? track.pool : kNoPool;
}

// The lock is that for which the nearest of those behind it waits.
void describe_lock(LockWaits* waits, int root, const Behind& nearest, Blocker* blocker) {
  blocker->lock = lock_id(waits->tag(nearest.lock));
  const LockModes modes = waits->graph().held_modes(root, nearest.lock);
  blocker->mode = modes != 0 ? strongest_of(static_cast<LOCKMASK>(modes)) : NoLock;
}

void describe_prepared(const LockWaits& waits, int root, Blocker* blocker) {
  blocker->kind = Blocker::Kind::kPreparedTransaction;
  blocker->place = prepared_place_of(root);
  blocker->xid = waits.process(root).xid;
}

// Returns false if the process has gone.
bool describe_process(const LockWaits& waits, int root, Blocker* blocker) {
  StatusEntry entry{};
  SessionIdentity who{};
  const std::optional<int> index = find_status(root, waits.process(root).pid);
  if (!index || read_status(*index, &entry) != StatusRead::kDone) return false;
  if (entry.id.pid != waits.process(root).pid) return false;
  if (!read_status_strings(*index, entry.id, &who, nullptr, 0, nullptr)) return false;
  blocker->kind = entry.is_client_backend ? Blocker::Kind::kSession : Blocker::Kind::kBackgroundProcess;
  blocker->session = entry.id;
  blocker->state = entry.state;
  blocker->state_start = entry.state_start;
  blocker->xact_start = entry.xact_start;
  blocker->role_oid = entry.role_oid;
  strlcpy(blocker->application_name, who.application_name, kNameSize);
  const bool is_tracked = entry.is_client_backend && *index < shared->slot_count;
  const SessionClocks* const clocks = is_tracked ? &TrackedSession(*index).record().clocks : nullptr;
  const bool is_known = clocks != nullptr && clocks->id == entry.id && clocks->blocking.since.is_set();
  blocker->is_session_level =
      entry.state == SessionState::kIdle || (is_known && clocks->blocking.is_session_level);
  return true;
}

bool describe(LockWaits* waits, int root, const Behind& nearest, Blocker* blocker) {
  *blocker = Blocker{};
  describe_lock(waits, root, nearest, blocker);
  if (prepared_place_of(root) < 0) return describe_process(*waits, root, blocker);
  describe_prepared(*waits, root, blocker);
  return true;
}

void count_behind(int pool, int root) {
  SeenWaits& seen = sampler->waits[pool];
  if (seen.counted_root != root) seen.counted = 0;
  seen.counted_root = root;
  seen.counted++;
}

// Of those that keep equally many waiting, the one with the oldest transaction is to blame: without it, the
// others would soon be done.
bool is_worse(const SeenWaits& seen, const Blocker& blocker) {
  if (seen.counted != seen.behind) return seen.counted > seen.behind;
  const WallTime known = seen.blocker.xact_start;
  return blocker.xact_start.is_set() && (!known.is_set() || blocker.xact_start < known);
}

void keep_worst(int pool, int root, const Blocker& blocker, int own_pool) {
  SeenWaits& seen = sampler->waits[pool];
  if (seen.counted_root != root || !is_worse(seen, blocker)) return;
  seen.behind = seen.counted;
  seen.blocker = blocker;
  seen.blocker.is_own = pool == own_pool;
}

// Returns the number of sessions that it visited.
int blame(LockWaits* waits, int root) {
  const int behind = waits->graph().blocked_behind(root).sessions;
  if (behind == 0) return 0;
  Blocker blocker;
  if (!describe(waits, root, waits->graph().nth_behind(0), &blocker)) return 0;
  const int own_pool = pool_of(*waits, root);
  for (int i = 0; i < behind; i++) {
    const int pool = pool_of(*waits, waits->graph().nth_behind(i).node);
    if (pool == kNoPool) continue;
    count_behind(pool, root);
    count_behind(server_pool(), root);
  }
  for (int i = 0; i < behind; i++) {
    const int pool = pool_of(*waits, waits->graph().nth_behind(i).node);
    if (pool != kNoPool) keep_worst(pool, root, blocker, own_pool);
  }
  keep_worst(server_pool(), root, blocker, kNoPool);
  return 2 * behind;
}

void find_blockers(LockWaits* waits) {
  sampler->wants_blockers = false;
  int visits = 0;
  for (int i = 0; i < pool_entry_count(); i++) {
    sampler->waits[i].behind = 0;
    sampler->waits[i].counted_root = kNoRoot;
  }
  const WaitGraph& graph = waits->graph();
  for (int root = graph.next_root(0); root >= 0 && visits < kMostVisits; root = graph.next_root(root + 1))
    visits += blame(waits, root);
}

}  // namespace

void note_waits(const ScanContext& scan) {
  if (!scan.has_waiters) return;
  sampler->polls++;
  LockWaits* const waits = *scan.has_waiters ? current_lock_waits() : nullptr;
  if (waits == nullptr || waits->graph().is_empty()) return;
  waits->graph().for_each_waiting([waits](int node) {
    const int pool = pool_of(*waits, node);
    if (pool == kNoPool) return;
    sampler->waits[pool].waiting++;
    sampler->waits[server_pool()].waiting++;
  });
  if (sampler->wants_blockers) find_blockers(waits);
}

void collect_waits() {
  const int polls = Max(sampler->polls, 1);
  for (int i = 0; i < pool_entry_count(); i++) {
    SeenWaits& seen = sampler->waits[i];
    PoolSample& sample = sampler->collected[i].sample;
    sample.waiting = static_cast<double>(seen.waiting) / polls;
    // What was found earlier is not repeated: it may be over.
    if (!sampler->wants_blockers && seen.behind > 0) sample.blocker = &seen.blocker;
    sample.behind = seen.behind;
    seen.waiting = 0;
  }
  sampler->polls = 0;
  sampler->wants_blockers = true;
}

}  // namespace pgleak
