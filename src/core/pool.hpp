// One pool: its leaks and connections over a day, in fixed space, and the verdict on it: ok, too small, or
// leaking, with a forecast of when it is exhausted.
//
// The scanner feeds it once a second; pgleak.pools shows it. Lives in shared memory: trivially copyable.
// Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_HPP
#define PGLEAK_CORE_POOL_HPP

#include <cstdint>
#include <optional>

#include "core/episode.hpp"
#include "core/tags.hpp"
#include "core/time.hpp"

namespace pgleak {

// The numbers at the start of each of the last minutes and hours. Zero-initialized means no record yet:
// before its first record, a pool had no leaks.
class PoolTrend {
 public:
  void record(std::int32_t leaked, std::int32_t connections, MonotonicTime now);

  // Most connections at any sample in the last 24 hours (to the hour).
  std::int32_t peak() const;

  // Leaks opened minus leaks ended per hour, at least 0, over the shortest of 5 minutes, an hour and a day
  // that has seen enough of them. So a burst shows soon, and a rate of one an hour shows at all.
  double leaks_per_hour(MonotonicTime now) const;

 private:
  static constexpr std::int64_t kMinutes = 61;
  static constexpr std::int64_t kHours = 25;

  struct Growth {
    std::int32_t count;
    Micros span;
  };
  Growth growth_over_minutes(std::int64_t minutes, MonotonicTime now) const;
  Growth growth_over_hours(std::int64_t hours, MonotonicTime now) const;

  MonotonicTime since_;  // none: no record yet
  std::int64_t minute_;  // minutes since `since_`
  std::int64_t hour_;
  std::int32_t leaked_;  // as of the last record
  std::uint16_t leaked_at_minute_[kMinutes];
  std::uint16_t leaked_at_hour_[kHours];
  std::uint16_t peak_in_hour_[kHours];
};

// Ordered by severity, except kLeak: there are leaks, but the pool has room left.
enum class Verdict : std::uint8_t { kOk, kLeak, kUndersized, kLeaking };

// What is judged: a pool, the whole server, or the unrelated sessions that found no entry in the table of
// pools.
enum class PoolScope : std::uint8_t { kPool, kServer, kOther };

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
  std::int32_t leaked;  // with an open episode; counted in their state too

  std::int32_t in_use() const { return active + idle_in_transaction; }
};

// What the open leaks of a pool have in common.
struct LeakSummary {
  std::int32_t count;
  std::int32_t idle;       // the leaks that are idle in their transaction
  WallTime since;          // when the first of them became idle or started its transaction
  std::uint64_t query_id;  // of their last statement; 0: they differ or it is unknown
  char route[kRouteSize];  // of their last statement; empty: they differ or it is unknown

  // `its_route` is empty if the statement names none.
  void add(const Episode& episode, const char* its_route);
};

// Sessions that may be checked out though they look free; see core/suspects.hpp.
struct SuspectSummary {
  std::int32_t count;
  Micros longest_idle;
};

// What one sample of a pool found.
struct PoolSample {
  PoolScope scope;
  PoolCounts counts;
  LeakSummary leaks;
  SuspectSummary suspects;
  std::int32_t used;           // of a pool: sessions in use; of the server: all connections
  std::int32_t limit;          // a configured capacity; 0: none
  std::int32_t used_of_limit;  // by this pool and all others that share the limit
  std::int32_t turnover;       // sessions that ended a transaction since the last sample
  bool has_restarted;          // no session of the last sample is left
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
  WallTime busy_since;    // none: not busy
  WallTime exhausted_at;  // none: not foreseeable
  double leaks_per_hour;  // opened minus ended, at least 0
  Verdict announced;      // the last verdict that was reported
  MonotonicTime announced_on;

  PoolTrend trend;
  MonotonicTime observed_on;  // none: never
  MonotonicTime busy_on;      // `busy_since` on the monotonic clock
  WallTime full_since;        // none: not full
  std::int64_t turnover;      // while it has been busy
  double mean_share;          // share of the capacity in use, averaged over a twentieth of pool_busy_after
  double mean_used;           // number in use, averaged the same way

  // Percentage of the capacity in use; -1: unknown.
  std::int32_t in_use_percent() const {
    if (capacity <= 0) return -1;
    return static_cast<std::int32_t>(static_cast<std::int64_t>(used_of_capacity) * 100 / capacity);
  }
};

// Updates `state` with one sample.
void observe_pool(PoolState* state, const PoolSample& sample, const PoolRules& rules, Now now);

// Returns the verdict reported before, if the current one is to be reported now: it has become leaking or
// undersized, or is no longer, and the last report is at least a minute ago. Assumes that the caller reports
// it.
std::optional<Verdict> take_announcement(PoolState* state, MonotonicTime now);

}  // namespace pgleak

#endif
