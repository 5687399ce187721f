#include <optional>

#include "pg/backend_status.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "scanner/idle_times.hpp"
#include "scanner/pools.hpp"
#include "scanner/tracked_session.hpp"

namespace pgleak {

Sampler* sampler = nullptr;

namespace {

// A younger session may still be setting itself up: some drivers set application_name only after connecting.
constexpr Micros kSetUpTime = 2 * kSecond;

// FNV-1a. The client's address belongs to the pool as well, but a session keeps it.
std::uint64_t hash_of(std::uint32_t database_oid, const SessionIdentity& who) {
  constexpr std::uint64_t kFactor = 1099511628211U;
  std::uint64_t hash = 14695981039346656037U;
  hash = (hash ^ database_oid) * kFactor;
  hash = (hash ^ who.role_oid) * kFactor;
  for (const char* c = who.application_name; *c != '\0'; c++)
    hash = (hash ^ static_cast<unsigned char>(*c)) * kFactor;
  return hash;
}

void note_move(SessionTrack* track, int pool, MonotonicTime now) {
  const int from = track->pool;
  track->activity = SessionActivity{track->activity.seen_on, MonotonicTime::none(), 0, false, false};
  if (now - track->activity.seen_on < kSetUpTime) return;
  if (from >= 0 && from < pool_count()) sampler->activities[from].shared_on = now;
  if (pool < pool_count()) sampler->activities[pool].shared_on = now;
}

void note_name(SharedName* known, bool is_new, std::uint64_t who_hash, const char* name) {
  if (is_new) *known = SharedName{};
  known->who_hash = who_hash;
  strlcpy(known->name, name, kNameSize);
}

// Returns false if the session has gone or is not set up yet.
bool find_pool(int index, SessionTrack* track, std::uint32_t database_oid, MonotonicTime now) {
  SessionIdentity who{};
  BackendOwner owner;
  if (!session_slot(index).backend.read_owner(track->id, &owner)) return false;
  if (!read_status_strings(index, track->id, &who, nullptr, 0, nullptr)) return false;

  // A session that has not changed its name stays in its pool, whose entry is not given away under it.
  const std::uint64_t who_hash = hash_of(database_oid, who);
  const bool has_pool = track->pool >= 0 && track->pool < pool_count();
  if (has_pool && track->who_hash == who_hash) return true;
  track->who_hash = who_hash;

  bool is_new = false;
  const PoolKey key = make_pool_key(database_oid, who);
  const int pool = sampler->table.acquire(key, &is_new);
  if (pool < pool_count()) note_name(&sampler->names[pool], is_new, who_hash, who.application_name);
  if (is_new) {
    strlcpy(who.application_name, key.application_name, kNameSize);
    strlcpy(who.database, owner.database, kNameSize);
    strlcpy(who.role, owner.role, kNameSize);
    who.encoding = owner.encoding;
    who.client_port = kPortUnknown;
    start_pool(pool, PoolScope::kPool, database_oid, who);
    start_idle_times(pool, key, true);
  }
  if (track->pool != kNoPool && track->pool != pool) note_move(track, pool, now);
  if (track->pool != pool && pool < pool_count()) join_application(pool);
  track->pool = pool;
  track->vacancies = sampler->table.vacancies();
  return true;
}

Activity compare(const SessionTrack& track, const StatusEntry& entry) {
  const bool has_run = entry.state_start != track.state_start;
  const bool has_ended = track.xact_start.is_set() ? entry.xact_start != track.xact_start
                                                   : has_run && entry.state == SessionState::kIdle;
  return Activity{has_run, has_ended, 0};
}

// Reads the entry of slot `index` if it has changed since the last scan. Returns what the session has done
// since; nothing if the slot has no client.
std::optional<Activity> refresh_session(int index, MonotonicTime now) {
  SessionTrack& track = sampler->tracks[index];
  const Activity nothing_done{false, false, 0};
  const std::optional<Activity> unchanged = track.id.pid != 0 ? std::optional(nothing_done) : std::nullopt;
  const std::uint32_t version = status_version(index);
  const bool may_find_entry = track.pool == other_pool() && track.vacancies != sampler->table.vacancies();
  if (version == track.version && !may_find_entry) return unchanged;

  StatusEntry entry{};
  const StatusRead status = read_status(index, &entry);
  if (status == StatusRead::kBusy) return unchanged;  // assume no change
  if (status == StatusRead::kUnused || !entry.is_client_backend) {
    track = SessionTrack{};
    track.pool = kNoPool;
    track.version = version;
    return std::nullopt;
  }
  const XactSeq ended_count = session_slot(index).backend.report().ended_count;
  Activity activity = nothing_done;
  if (entry.id != track.id) {
    track = SessionTrack{};
    track.id = entry.id;
    track.pool = kNoPool;
    track.activity.seen_on = now;
  } else {
    activity = compare(track, entry);
    activity.transactions = static_cast<std::int64_t>(ended_count - track.ended_count);
  }
  track.ended_count = ended_count;
  track.state = entry.state;
  track.state_start = entry.state_start;
  track.xact_start = entry.xact_start;
  const bool has_pool = find_pool(index, &track, entry.database_oid, now);
  track.version = has_pool ? version : kNotRead;
  return activity;
}

void count_state(PoolCounts* counts, SessionState state) {
  counts->connections++;
  if (is_active(state))
    counts->active++;
  else if (is_idle_in_transaction(state))
    counts->idle_in_transaction++;
  else if (state == SessionState::kIdle)
    counts->idle++;
}

// A leak is counted as such, not as work outside of the database.
void count_idle(const SessionTrack& track, WallTime now, PoolSample* pool) {
  if (!is_idle_in_transaction(track.state)) return;
  pool->idle.count++;
  if (now > track.state_start) pool->idle.total += now - track.state_start;
}

void count_suspect(SessionTrack* track, const Activity& activity, Micros suspect_after, MonotonicTime now,
                   Collected* collected) {
  const SessionObservation seen{track->state == SessionState::kIdle, activity.has_run};
  if (!observe_session(&track->activity, seen, sampler->activities[track->pool], suspect_after, now,
                       &collected->observation))
    return;
  SuspectSummary& suspects = collected->sample.suspects;
  suspects.count++;
  suspects.longest_idle = Max(suspects.longest_idle, now - track->activity.idle_on);
}

}  // namespace

void collect_session(int index, Micros suspect_after, Now now) {
  const std::optional<Activity> activity = refresh_session(index, now.monotonic);
  if (!activity) return;
  SessionTrack& track = sampler->tracks[index];
  Collected* const collected = track.pool != kNoPool ? &sampler->collected[track.pool] : nullptr;
  PoolSample& server = sampler->collected[server_pool()].sample;
  const bool is_new = track.activity.seen_on == now.monotonic;

  count_state(&server.counts, track.state);
  server.turnover += is_new;
  const bool leaks = count_leak(index, track, collected != nullptr ? &collected->sample : nullptr, &server);
  if (collected == nullptr) return;
  count_state(&collected->sample.counts, track.state);
  if (!leaks) count_idle(track, now.wall, &collected->sample);
  collected->sample.turnover += activity->has_ended_transaction;
  collected->sample.transactions += activity->transactions;
  if (!is_new) collected->survivors++;
  if (collected->who_hash != 0 && collected->who_hash != track.who_hash) collected->names_differ = true;
  collected->who_hash = track.who_hash;
  if (track.pool < pool_count()) count_suspect(&track, *activity, suspect_after, now.monotonic, collected);
}

}  // namespace pgleak
