// Samples the pools: once a second, each session is counted in its pool, each pool is judged, and a changed
// verdict is logged and passed to the recorder.
//
// scanner.cpp calls it after each scan of the sessions. It touches nothing but shared memory, its own memory
// and the log, takes no lock, and allocates nothing per scan.
#ifndef PGLEAK_SCANNER_POOLS_HPP
#define PGLEAK_SCANNER_POOLS_HPP

#include <cstdint>

#include "core/oid_table.hpp"
#include "core/pool.hpp"
#include "core/pool_table.hpp"
#include "core/suspects.hpp"
#include "core/tags.hpp"
#include "scanner/scan_context.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

// --- pools.cpp: judges the pools ---

// Allocates this process's memory and takes over the pools of an earlier scanner. May ereport (out of
// memory).
void prepare_pools();

// Takes one sample, unless the previous one is less than a second old. Emits LOG messages, nothing worse.
void sample_pools(const ScanContext& scan);

// --- pool_sessions.cpp: counts sessions in their pools; the memory between two samples ---

inline constexpr int kNoPool = -1;
inline constexpr std::uint32_t kNotRead = UINT32_MAX;  // odd, so it equals no stable version

// The scanner's memory of the session in one slot. It reduces the cost of an unchanged session to one
// comparison.
struct SessionTrack {
  SessionId id;            // pid 0: no client
  std::uint32_t version;   // of the entry when it was read
  std::uint64_t who_hash;  // of what its pool depends on
  int pool;
  std::uint32_t vacancies;  // of the table when it had no entry for this session
  SessionState state;
  WallTime state_start;
  WallTime xact_start;
  XactSeq ended_count;  // of its transactions
  SessionActivity activity;
};

// Where an open leak comes from, read again when its session has changed.
struct KnownOrigin {
  std::int64_t leak_id;
  std::uint32_t version;  // of the status entry
  LeakOrigin origin;
};

// What has been seen of the waits of one pool since the last sample.
struct SeenWaits {
  std::int64_t waiting;  // sessions, added up over all looks at the lock table
  std::int32_t behind;   // sessions of the pool behind `blocker`; 0: none was found
  Blocker blocker;
  int counted_root;  // `counted` is about this one
  std::int32_t counted;
};

// What a session has done since the last scan.
struct Activity {
  bool has_run;
  bool has_ended_transaction;
  std::int64_t transactions;  // that have ended
};

// What one sample collects about one pool.
struct Collected {
  PoolSample sample;
  PoolObservation observation;
  std::int32_t survivors;  // sessions that were in the previous sample
  std::uint64_t who_hash;  // of the last session
  bool names_differ;       // of its sessions
};

// What all pools that share a role or a database use of its limit.
struct Together {
  std::int32_t used;
  double waiting;
};

// The name that the sessions of a pool may share.
struct SharedName {
  std::uint64_t who_hash;  // of the session that came last
  char name[kNameSize];    // its own
  bool has_differed;       // two sessions had different names: the pool shows that of their application
};

struct Sampler {
  SessionTrack* tracks;  // one per slot
  KnownOrigin* origins;
  char* statement;
  TrailEntry* trail;
  TagText tag_text;
  Tags tags;
  PoolTable table;
  std::int32_t* applications;  // of each pool: the sum that it is a part of; kNoPool: none
  SharedName* names;           // one per pool
  PoolActivity* activities;    // one per pool
  Collected* collected;        // one per entry
  SeenWaits* waits;            // one per entry
  OidTable<Together> by_role;
  OidTable<Together> by_database;
  std::int32_t polls;   // looks at who waits since the last sample
  bool wants_blockers;  // they have not been searched for since the last sample
  MonotonicTime next_on;
  bool has_sampled;  // false before the first sample: what happened before it is unknown
};

extern Sampler* sampler;

// Counts the session of slot `index`, if it has a client, in its pool and in the server's row. Never
// ereports.
void collect_session(int index, Micros suspect_after, Now now);

// --- pool_applications.cpp: the sums of an application's pools at several addresses ---

// Makes an entry the one of a new pool, or of the sum of pools.
void start_pool(int index, PoolScope scope, std::uint32_t database_oid, const SessionIdentity& who);

// Call it when a session has come into a pool. If another pool of its application has sessions, the two are
// added up in an entry of their own from now on, as long as there is room for it.
void join_application(int pool);

// The entry of a pool, or of a sum, is free or has become another's.
void forget_application(int index);

// Adds the samples of the pools to those of the sums.
void add_up_applications();

// --- pool_leaks.cpp: what leaks in a pool, and how leaks of it ended ---

// Counts the leak of slot `index`, if its session has one, in the samples of its pool (or nullptr) and of the
// server. Returns whether it has. Never ereports.
bool count_leak(int index, const SessionTrack& track, PoolSample* pool, PoolSample* server);

// Counts the episodes that have ended since the last sample. Call it before sessions are counted, because
// afterwards nobody knows any more to which pool a session that has gone belonged.
void collect_ended_episodes();

// --- pool_waits.cpp: who waits for locks, and behind whom ---

// Counts those who wait by pool, if this scan has looked for them. Reads only what it has read of the lock
// table. Never ereports.
void note_waits(const ScanContext& scan);

// Moves what was counted into the samples.
void collect_waits();

}  // namespace pgleak

#endif
