// Owns: the look at all pools: once a second each session is counted in its pool, each pool is judged, and a
// change of the verdict is told. Called by scanner.cpp after the look at all sessions. Must touch nothing but
// shared memory and the log; takes no lock and allocates nothing per scan.
// Owns: what the scanner remembers of sessions and pools from one look at the pools to the next, and the
// counting of sessions in their pools. Used by pools.cpp, in the scanner's own memory. Must touch nothing but
// shared memory; takes no lock and allocates nothing per scan.
#ifndef PGLEAK_SCANNER_POOLS_HPP
#define PGLEAK_SCANNER_POOLS_HPP

#include <cstdint>

#include "core/pool.hpp"
#include "core/pool_table.hpp"
#include "core/suspects.hpp"
#include "core/tags.hpp"
#include "scanner/scan_context.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

// Memory of this process; finds the pools that an earlier scanner knew. May ereport (out of memory).
void prepare_pools();

// Does nothing if the last one was less than a second ago.
void sample_pools(const ScanContext& scan);

inline constexpr int kNoPool = -1;
inline constexpr std::uint32_t kNotRead = UINT32_MAX;  // no version stays odd

// What the scanner remembers of the session of one slot, so that one that does nothing costs a comparison.
struct SessionTrack {
  SessionId id;           // pid 0: no client
  std::uint32_t version;  // of its entry when that was read
  int pool;
  std::uint32_t vacancies;  // of the table when it found no entry there
  SessionState state;
  WallTime state_start;
  WallTime xact_start;
  SessionActivity activity;
};

// The route that the statement of an open leak names, read once; empty if it names none.
struct LeakRoute {
  std::int64_t leak_id;
  char route[kRouteSize];
};

// What a session has done since the last scan.
struct Activity {
  bool has_run;
  bool has_ended_transaction;
};

// What one look collects of one pool.
struct Collected {
  PoolSample sample;
  PoolObservation observation;
  std::int32_t survivors;  // of the last look
};

struct Sampler {
  SessionTrack* tracks;  // one for each slot
  LeakRoute* routes;
  char* statement;
  Tags tags;
  PoolTable table;
  PoolActivity activities[kPoolCount];
  Collected collected[kPoolEntryCount];
  MonotonicTime next_on;
  bool has_sampled;  // what there was before the first look is not known
};

extern Sampler* sampler;

inline SeqLock<Pool>& pool_entry(int index) { return shared->pools.pools[index]; }

// Counts the session of slot `index`, if a client has it, in its pool and in the server's row.
void collect_session(int index, Micros suspect_after, MonotonicTime now);

}  // namespace pgleak

#endif
