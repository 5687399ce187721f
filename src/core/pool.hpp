// One pool over time, and the verdict on it: ok, too small, kept waiting by somebody else, or leaking, with a
// forecast of when it is exhausted.
//
// The scanner feeds it once a second; pgleak.pools shows it. Lives in shared memory: trivially copyable.
// Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_HPP
#define PGLEAK_CORE_POOL_HPP

#include <cstdint>
#include <optional>

#include "core/leak_pattern.hpp"
#include "core/pool_trend.hpp"
#include "core/pool_waits.hpp"
#include "core/time.hpp"

namespace pgleak {

// Ordered by severity. kLeak: there are leaks, but the pool has room left.
enum class Verdict : std::uint8_t { kOk, kLeak, kUndersized, kBlocked, kLeaking };

// What is judged: a pool, the sum of an application's pools at several addresses, the whole server, or the
// unrelated sessions that found no entry in the table of pools.
enum class PoolScope : std::uint8_t { kPool, kApplication, kServer, kOther };

// True if its sessions share database, role and application.
inline bool is_of_application(PoolScope scope) {
  return scope == PoolScope::kPool || scope == PoolScope::kApplication;
}

// The name in pgleak.pools.scope. Static memory.
const char* to_string(PoolScope scope);

// The name in pgleak.pools.verdict. Static memory.
const char* to_string(Verdict verdict);

// Sessions of a pool by state. Those that hide their state (track_activities = off) count only as
// connections.
struct PoolCounts {
  std::int32_t connections;
  std::int32_t active;
  std::int32_t idle;
  std::int32_t idle_in_transaction;
  std::int32_t leaked;   // with an open episode; counted in their state too
  std::int32_t waiting;  // for locks, on average since the last sample; counted in their state too

  std::int32_t in_use() const { return active + idle_in_transaction; }
};

// Sessions that may be checked out though they look free; see core/suspects.hpp and core/silence.hpp.
struct SuspectSummary {
  std::int32_t count;
  Micros longest_idle;
  WallTime silent_since;     // all of them, if the pool has fallen silent; none: it has not
  std::int32_t rate_before;  // transactions a second before that
};

// The sessions that are idle in a transaction without being leaks.
struct IdleInTransaction {
  std::int32_t count;
  Micros total;  // time that they have been idle
};

// What one sample of a pool found.
struct PoolSample {
  PoolScope scope;
  PoolCounts counts;
  LeakSummary leaks;
  LeakEnds ends;  // since the last sample
  SuspectSummary suspects;
  IdleInTransaction idle;
  double waiting;              // sessions, on average since the last sample
  const Blocker* blocker;      // who keeps most of them waiting; nullptr: nobody was found
  std::int32_t behind;         // sessions that wait behind it
  std::int32_t used;           // of a pool: sessions in use; of the server: all connections
  std::int32_t limit;          // a configured capacity; 0: none
  std::int32_t used_of_limit;  // by this pool and all others that share the limit
  double waiting_of_limit;     // of those
  std::int64_t transactions;   // ended since the last sample
  std::int32_t turnover;  // sessions that ended a transaction since the last sample; server: new sessions
  bool has_restarted;     // no session of the last sample is left
};

// pgleak.pool_busy_percent and pgleak.pool_busy_after.
struct PoolRules {
  std::int32_t busy_percent;
  Micros busy_after;
};

// A capacity that is only the observed peak says nothing below this: one session that always works, such as a
// job or a listener, is not a full pool.
inline constexpr std::int32_t kLeastPeak = 3;

inline constexpr Micros kAnnouncementPause = 60 * kSecond;

// Connections that pgleak has terminated and that the pool has not opened again.
struct LostToTerminate {
  WallTime at;  // of the last terminate; none: none is missing
  std::int32_t before;
  std::int32_t missing;
};

struct PoolState {
  // As of the last sample.
  PoolCounts counts;
  LeakSummary leaks;
  SuspectSummary suspects;
  std::int32_t used;
  std::int32_t used_of_capacity;
  std::int32_t capacity;  // 0: unknown
  std::int32_t peak;      // most connections at once in the last 24 hours
  bool is_limited;        // `capacity` is a configured limit, not the peak

  // Derived from all samples.
  Verdict verdict;
  LeakPattern pattern;
  PoolWaits waits;
  LostToTerminate terminated;
  WallTime busy_since;     // none: not busy
  WallTime working_since;  // busy with work: without those that wait for locks; none: not busy
  WallTime exhausted_at;   // none: not foreseeable
  double leaks_per_hour;   // opened minus ended, at least 0
  Verdict announced;       // the last verdict that was reported
  MonotonicTime announced_on;

  PoolTrend trend;
  RecentEnds ends;
  bool has_returned;          // some leak was given back by its client
  MonotonicTime observed_on;  // none: never
  MonotonicTime working_on;   // `working_since` on the monotonic clock
  WallTime full_since;        // full, and nobody has got a connection since; none: not full
  MonotonicTime full_on;
  MonotonicTime moved_on;  // when a session last ended a transaction
  std::int64_t turnover;   // while it has been busy with work
  // Averaged over a twentieth of pool_busy_after.
  double mean_share;       // share of the capacity in use
  double mean_work_share;  // the same without those that wait for locks
  double mean_used;        // number in use
  double mean_idle;        // number idle in a transaction, without leaks
  double mean_idle_us;     // time that these have been idle

  // Nothing has been free for a while, and nobody has got a connection.
  bool is_exhausted(MonotonicTime now) const;

  // Percentage of the capacity in use; -1: unknown.
  std::int32_t in_use_percent() const {
    if (capacity <= 0) return -1;
    return static_cast<std::int32_t>(static_cast<std::int64_t>(used_of_capacity) * 100 / capacity);
  }
};

// Updates `state` with one sample.
void observe_pool(PoolState* state, const PoolSample& sample, const PoolRules& rules, Now now);

// Returns the verdict reported before, if the current one is to be reported now: it has become leaking,
// blocked or undersized, or is no longer, and the last report is at least a minute ago. Assumes that the
// caller reports it.
std::optional<Verdict> take_announcement(PoolState* state, MonotonicTime now);

}  // namespace pgleak

#endif
