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
  SessionActivity activity;
};

// The route in the statement of an open leak, read once; empty if it names none.
struct LeakRoute {
  std::int64_t leak_id;
  char route[kRouteSize];
};

// What a session has done since the last scan.
struct Activity {
  bool has_run;
  bool has_ended_transaction;
};

// What one sample collects about one pool.
struct Collected {
  PoolSample sample;
  PoolObservation observation;
  std::int32_t survivors;  // sessions that were in the previous sample
};

struct Sampler {
  SessionTrack* tracks;  // one per slot
  LeakRoute* routes;
  char* statement;
  Tags tags;
  PoolTable table;
  PoolActivity* activities;             // one per pool
  Collected* collected;                 // one per entry
  OidTable<std::int32_t> used_by_role;  // sessions in use in all pools of a role
  OidTable<std::int32_t> used_by_database;
  MonotonicTime next_on;
  bool has_sampled;  // false before the first sample: what happened before it is unknown
};

extern Sampler* sampler;

// Counts the session of slot `index`, if it has a client, in its pool and in the server's row. Never
// ereports.
void collect_session(int index, Micros suspect_after, MonotonicTime now);

}  // namespace pgleak

#endif
