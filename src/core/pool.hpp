// Owns: how the leaks and the connections of one pool have developed over a day, in fixed space.
// Used by core/pool. Lives in shared memory: trivially copyable.
// Must never allocate or read a clock. Never ereports.
// Owns: what is known of one pool, and the verdict on it: fine, too small, or leaking (and when it is
// exhausted). Fed by the scanner once a second, shown by pgleak.pools. Lives in shared memory: trivially
// copyable. Must never allocate, know the server or read a clock. Never ereports.
#ifndef PGLEAK_CORE_POOL_HPP
#define PGLEAK_CORE_POOL_HPP

#include <cstdint>
#include <optional>

#include "core/episode.hpp"
#include "core/tags.hpp"
#include "core/time.hpp"

namespace pgleak {

// Numbers at the beginning of each of the last minutes and hours. Zero-initialised has seen nothing: before
// its first record a pool had no leaks.
class PoolTrend {
 public:
  void record(std::int32_t leaked, std::int32_t connections, MonotonicTime now);

  // Most connections at one look in the last 24 hours (to the hour).
  std::int32_t peak() const;

  // Leaks opened minus leaks ended per hour, 0 if that is less: over the shortest of 5 minutes, an hour and a
  // day that has seen enough of them, so that a burst shows soon and one an hour shows at all.
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
  std::int64_t minute_;  // since `since_`, counted from 0
  std::int64_t hour_;
  std::int32_t leaked_;  // at the last record
  std::uint16_t leaked_at_minute_[kMinutes];
  std::uint16_t leaked_at_hour_[kHours];
  std::uint16_t peak_in_hour_[kHours];
};

// One after the other in severity, but for kLeak: something leaks, and the pool has room left.
enum class Verdict : std::uint8_t { kOk, kLeak, kUndersized, kLeaking };

// What is judged: a pool, the whole server, or unrelated sessions that found no place in the table of pools.
enum class PoolScope : std::uint8_t { kPool, kServer, kOther };

// As pgleak.pools.scope prints it.
const char* to_string(PoolScope scope);

// As pgleak.pools.verdict prints it.
const char* to_string(Verdict verdict);

// How many sessions of a pool were in which state. Those that hide it (track_activities = off) only count
// as connections.
struct PoolCounts {
  std::int32_t connections;
  std::int32_t active;
  std::int32_t idle;
  std::int32_t idle_in_transaction;
  std::int32_t leaked;  // with an open episode; they count in their state too

  std::int32_t in_use() const { return active + idle_in_transaction; }
};

// What the open leaks of a pool have in common.
struct LeakSummary {
  std::int32_t count;
  std::int32_t idle;       // those of them that are idle in their transaction
  WallTime since;          // since when the first of them is idle, or in its transaction
  std::uint64_t query_id;  // of the last statement of each; 0 if they differ or it is not known
  char route[kRouteSize];  // that the last statement of each names; empty if they differ or it is not known

  // `its_route` is empty if the statement names none.
  void add(const Episode& episode, const char* its_route);
};

// Sessions that may be checked out though they look free; see core/suspects.hpp.
struct SuspectSummary {
  std::int32_t count;
  Micros longest_idle;
};

// What one look at a pool found.
struct PoolSample {
  PoolScope scope;
  PoolCounts counts;
  LeakSummary leaks;
  SuspectSummary suspects;
  std::int32_t used;           // of what it has: sessions in use; of the server: all connections
  std::int32_t limit;          // a capacity that is known; 0: none is
  std::int32_t used_of_limit;  // by this pool and all others that share the limit
  std::int32_t turnover;       // sessions that have ended a transaction since the last look
  bool has_restarted;          // all the sessions of the last look are gone
};

// pgleak.pool_busy_percent and pgleak.pool_busy_after.
struct PoolRules {
  std::int32_t busy_percent;
  Micros busy_after;
};

// A capacity that is only the most connections seen says nothing about fewer than these: one session that
// always works, a job or a listener, is not a full pool.
inline constexpr std::int32_t kLeastPeak = 3;

inline constexpr Micros kAnnouncementPause = 60 * kSecond;

struct PoolState {
  // As of the last scan.
  PoolCounts counts;
  LeakSummary leaks;
  SuspectSummary suspects;
  std::int32_t used;
  std::int32_t used_of_capacity;
  std::int32_t capacity;  // 0: not known
  std::int32_t peak;      // most connections at once in the last 24 hours
  bool is_limited;        // `capacity` is a limit that somebody set, not the peak

  // What follows from all looks.
  Verdict verdict;
  WallTime busy_since;    // none: not busy
  WallTime exhausted_at;  // none: not in sight
  double leaks_per_hour;  // opened minus ended, >= 0
  Verdict announced;      // the last verdict that was told to anybody
  MonotonicTime announced_on;

  PoolTrend trend;
  MonotonicTime observed_on;  // none: never
  MonotonicTime busy_on;      // as busy_since
  WallTime full_since;        // none: not full
  std::int64_t turnover;      // while it has been busy
  double mean_share;          // of the capacity in use, averaged over a twentieth of pool_busy_after
  double mean_used;           // the same of the number in use

  // Percent of the capacity that is in use, -1 if that is not known.
  std::int32_t in_use_percent() const {
    if (capacity <= 0) return -1;
    return static_cast<std::int32_t>(static_cast<std::int64_t>(used_of_capacity) * 100 / capacity);
  }
};

// Brings `state` up to date with one scan.
void observe_pool(PoolState* state, const PoolSample& sample, const PoolRules& rules, Now now);

// Says whether the verdict is one to be told now: it has become leaking or undersized, or is that no more,
// and the last announcement is a minute ago. If so returns the one announced before, and takes it that the
// verdict will be told.
std::optional<Verdict> take_announcement(PoolState* state, MonotonicTime now);

}  // namespace pgleak

#endif
