#include "core/limit_advice.hpp"

#include "core/assert.hpp"

namespace pgleak {

namespace {

constexpr Micros kMinute = 60 * kSecond;
constexpr Micros kHour = 60 * kMinute;

// What people would write into a configuration file.
constexpr Micros kRoundLimits[] = {5 * kSecond,  10 * kSecond, 15 * kSecond, 20 * kSecond, 30 * kSecond,
                                   45 * kSecond, kMinute,      90 * kSecond, 2 * kMinute,  3 * kMinute,
                                   5 * kMinute,  10 * kMinute, 15 * kMinute, 20 * kMinute, 30 * kMinute,
                                   45 * kMinute, kHour,        90 * kMinute, 2 * kHour,    3 * kHour,
                                   4 * kHour,    6 * kHour,    8 * kHour,    12 * kHour,   24 * kHour};

// The shortest of them that is not shorter; beyond them whole days.
Micros round_up(Micros limit) {
  for (const Micros round : kRoundLimits)
    if (limit <= round) return round;
  const Micros day = 24 * kHour;
  return ((limit - Micros{1}) / day + 1) * day;
}

// An action below these would hit a client that is only slow.
constexpr Micros kShortestCancel = 30 * kSecond;
constexpr Micros kShortestTerminate = 5 * kMinute;

// A longer limit is of no use as a limit for everybody.
constexpr Micros kLongestAction = kHour;

// Exceptions are at most this many, or one in ten thousand, and this many times longer than the rest. What a
// limit for everybody can cover is no exception.
constexpr std::uint64_t kFewExceptions = 3;
constexpr std::uint64_t kRareExceptions = 10000;
constexpr std::int64_t kApart = 4;
constexpr Micros kLeastException = kLongestShared / kLeakFactor;

Micros longer(Micros a, Micros b) { return a > b ? a : b; }

Micros leak_need(const PoolIdleness& pool) { return round_up(kLeakFactor * pool.regular); }

// A time of the first bin is known to a fraction of a millisecond only.
void append_time(TextBuffer* text, Micros time) {
  if (time < kMillisecond) {
    text->append("less than 1ms");
  } else if (time < kSecond) {
    text->append_number(time / kMillisecond);
    text->append("ms");
  } else if (time < 2 * kMinute) {
    text->append_seconds(100 * kMillisecond * (time / (100 * kMillisecond)));
  } else if (time < 2 * kHour) {
    text->append_number(time / kMinute);
    text->append("min");
  } else {
    text->append_number(time / kHour);
    text->append("h");
  }
}

void append_name(TextBuffer* text, const PoolIdleness& pool) {
  if (pool.name[0] == '\0') {
    text->append("the sessions without application_name");
    return;
  }
  text->append("\"");
  text->append_escaped(pool.name, true);
  text->append("\"");
}

// The pools that matter to one limit.
class Pools {
 public:
  Pools(int index, const IdlenessFacts& facts) : index_(index), facts_(facts) {
    for (int i = 0; i < facts.pool_count; i++) {
      if (!counts(i)) continue;
      count_++;
      total_ += facts.pools[i].count;
      if (leak_need(facts.pools[i]) > kLongestShared) outliers_++;
    }
    // If all need a long limit, that is how this server is used.
    if (outliers_ == count_) outliers_ = 0;
    has_outliers_ = outliers_ > 0;
  }

  int count() const { return count_; }
  int outlier_count() const { return outliers_; }
  std::uint64_t total() const { return total_; }

  // Calls visit(pool) for each of them that is an outlier, or each that is not.
  template <typename Visit>
  void for_each(bool outliers, Visit visit) const {
    for (int i = 0; i < facts_.pool_count; i++)
      if (counts(i) && is_outlier(facts_.pools[i]) == outliers) visit(facts_.pools[i]);
  }

  // The pool with the largest value of `key`; nullptr if there is none.
  template <typename Key>
  const PoolIdleness* find_most(bool outliers, Key key) const {
    const PoolIdleness* most = nullptr;
    for_each(outliers, [&most, key](const PoolIdleness& pool) {
      if (most == nullptr || key(pool) > key(*most)) most = &pool;
    });
    return most;
  }

 private:
  bool counts(int i) const { return !facts_.pools[i].is_exempt[index_]; }
  bool is_outlier(const PoolIdleness& pool) const {
    return has_outliers_ && leak_need(pool) > kLongestShared;
  }

  int index_;
  const IdlenessFacts& facts_;
  int count_ = 0;
  int outliers_ = 0;
  bool has_outliers_ = false;
  std::uint64_t total_ = 0;
};

Micros regular_of(const PoolIdleness& pool) { return pool.regular; }
Micros longest_of(const PoolIdleness& pool) { return pool.longest; }

void append_watched_for(TextBuffer* reason, const IdlenessFacts& facts) {
  append_time(reason, longer(kSecond * (facts.watched_for / kSecond), kSecond));
}

void append_watched(TextBuffer* reason, const IdlenessFacts& facts) {
  reason->append(" in ");
  append_watched_for(reason, facts);
}

// "only 12 idle times seen in 4min"
void append_too_few(TextBuffer* reason, const Pools& pools, const IdlenessFacts& facts) {
  if (pools.count() == 0 && facts.pool_count > 0) {
    reason->append(
        "rules or settings of their own keep this limit away from all pools that were idle in a transaction");
    return;
  }
  reason->append("only ");
  reason->append_number(static_cast<std::int64_t>(pools.total()));
  reason->append(pools.total() == 1 ? " idle time was" : " idle times were");
  reason->append(" seen");
  append_watched(reason, facts);
  reason->append(", too few to choose from: come back after ");
  reason->append_number(static_cast<std::int64_t>(kEnoughIdleTimes));
}

// "the longest regular one of 1200 idle times in 3 pools was 1.2s, in "shop""
void append_longest(TextBuffer* reason, const Pools& pools, const PoolIdleness& pool, Micros time,
                    const char* what) {
  reason->append("the longest ");
  reason->append(what);
  reason->append("of ");
  reason->append_number(static_cast<std::int64_t>(pools.total()));
  reason->append(" idle times in ");
  reason->append_number(pools.count());
  reason->append(pools.count() == 1 ? " pool was " : " pools was ");
  append_time(reason, time);
  reason->append(", in ");
  append_name(reason, pool);
}

void append_outliers(TextBuffer* reason, const Pools& pools) {
  const PoolIdleness* const worst = pools.find_most(true, regular_of);
  if (worst == nullptr) return;
  reason->append("; ");
  append_name(reason, *worst);
  reason->append(" is regularly idle for up to ");
  append_time(reason, worst->regular);
  if (pools.outlier_count() > 1) {
    reason->append(", and ");
    reason->append_number(pools.outlier_count() - 1);
    reason->append(pools.outlier_count() == 2 ? " other pool is like it" : " other pools are like it");
  }
}

void append_exceptions(TextBuffer* reason, const Pools& pools, Micros limit) {
  const PoolIdleness* const worst = pools.find_most(
      false, [](const PoolIdleness& pool) { return pool.exceptions > 0 ? pool.longest : Micros{0}; });
  if (worst == nullptr || worst->exceptions == 0 || worst->longest <= limit) return;
  reason->append("; ");
  reason->append_number(static_cast<std::int64_t>(worst->exceptions));
  reason->append(" of up to ");
  append_time(reason, worst->longest);
  reason->append(" in ");
  append_name(reason, *worst);
  reason->append(worst->exceptions == 1 ? " stands apart" : " stand apart");
}

std::optional<Micros> suggest_leak(const Pools& pools, TextBuffer* reason) {
  const PoolIdleness* const most = pools.find_most(false, regular_of);
  PGLEAK_ASSERT(most != nullptr);
  const Micros limit = leak_need(*most);
  append_longest(reason, pools, *most, most->regular, "regular one ");
  append_outliers(reason, pools);
  if (pools.outlier_count() > 0) reason->append(": give it a rule with a longer limit");
  append_exceptions(reason, pools, limit);
  return limit;
}

// What an action on the idle clock needs in order to reach no idle time that has ever ended by itself.
Micros action_need(const PoolIdleness& pool, LimitKind kind) {
  const Micros cancel =
      round_up(longer(kShortestCancel, longer(kActionFactor * pool.longest, 2 * leak_need(pool))));
  if (kind == LimitKind::kCancel) return cancel;
  return round_up(longer(kShortestTerminate, 5 * cancel));
}

std::optional<Micros> suggest_action(LimitKind kind, const Pools& pools, const IdlenessFacts& facts,
                                     TextBuffer* reason) {
  if (facts.watched_for < kEnoughForActions) {
    reason->append("idle times were counted for ");
    append_watched_for(reason, facts);
    reason->append(" only: come back after a day, because jobs that run once a day have to be seen");
    return std::nullopt;
  }
  const PoolIdleness* const most = pools.find_most(false, longest_of);
  PGLEAK_ASSERT(most != nullptr);
  const Micros limit = action_need(*most, kind);
  append_longest(reason, pools, *most, most->longest, "");
  if (pools.outlier_count() > 0) {
    append_outliers(reason, pools);
    reason->append(": give it a rule first, then ");
    append_limit(reason, limit);
    reason->append(" suits the others");
    return std::nullopt;
  }
  if (action_need(*most, LimitKind::kCancel) > kLongestAction) {
    reason->append(
        "; find out in pgleak.history whether it was lost, then call pgleak.reset(), or give its pool a "
        "rule");
    return std::nullopt;
  }
  reason->append("; try it with pgleak.dry_run first");
  return limit;
}

// The other clocks measure more than idle times, so these can only show that a limit is too short.
std::optional<Micros> check_other_clock(Clock clock, const Pools& pools, Micros current, TextBuffer* reason) {
  const PoolIdleness* const most = pools.find_most(false, regular_of);
  PGLEAK_ASSERT(most != nullptr);
  if (current != kNever && current < kActionFactor * most->regular) {
    append_longest(reason, pools, *most, most->regular, "regular one ");
    reason->append(clock == Clock::kTransaction ? "; a transaction lasts longer than it is idle"
                                                : "; others may wait as long as a session is idle");
    return leak_need(*most);
  }
  reason->append(
      clock == Clock::kTransaction
          ? "idle times do not tell how long transactions take; see the longest in pgleak.history"
          : "idle times do not tell how long others wait; see the longest waits in pgleak.history");
  return std::nullopt;
}

}  // namespace

PoolIdleness describe_idleness(const char* name, const IdleTimes& times) {
  PoolIdleness pool{};
  pool.name = name;
  pool.count = times.count();
  pool.p99 = times.quantile(0.99).value_or(Micros{0});
  pool.longest = times.longest;
  pool.regular = times.longest;
  if (pool.count < kEnoughIdleTimes || times.longest < kLeastException) return pool;

  const std::uint64_t few = pool.count / kRareExceptions;
  const std::uint64_t most = few > kFewExceptions ? few : kFewExceptions;
  std::uint64_t exceptions = 0;
  int bin = kIdleBinCount - 1;
  while (exceptions + times.bins[bin] <= most) exceptions += times.bins[bin--];
  const Micros rest = sooner(idle_bin_start(bin + 1), times.longest);
  if (exceptions == 0 || times.longest < kApart * rest) return pool;
  pool.exceptions = exceptions;
  pool.regular = rest;
  return pool;
}

void note_exemption(PoolIdleness* pool, const LimitValues& values) {
  for (int i = 0; i < kLimitCount; i++) {
    const Micros leak_after = values.value[i - i % kLimitKindCount];
    const bool is_kept_away = leak_after == kNever || leak_after > pool->longest;
    if (values.value[i] != kNotSet || is_kept_away) pool->is_exempt[i] = true;
  }
}

std::optional<Micros> suggest_limit(int index, const IdlenessFacts& facts, const LimitValues& current,
                                    TextBuffer* reason) {
  const Pools pools(index, facts);
  if (pools.total() < kEnoughIdleTimes) {
    append_too_few(reason, pools, facts);
    return std::nullopt;
  }
  const Clock clock = static_cast<Clock>(index / kLimitKindCount);
  const LimitKind kind = static_cast<LimitKind>(index % kLimitKindCount);
  if (clock != Clock::kIdle) return check_other_clock(clock, pools, current.value[index], reason);
  return kind == LimitKind::kLeak ? suggest_leak(pools, reason) : suggest_action(kind, pools, facts, reason);
}

void append_limit(TextBuffer* text, Micros limit) {
  struct Unit {
    Micros size;
    const char* name;
  };
  constexpr Unit kUnits[] = {
      {24 * kHour, "d"}, {kHour, "h"}, {kMinute, "min"}, {kSecond, "s"}, {kMillisecond, "ms"}};
  if (limit == kNever) {
    text->append("0");
    return;
  }
  for (const Unit& unit : kUnits) {
    if (limit.us % unit.size.us != 0) continue;
    text->append_number(limit / unit.size);
    text->append(unit.name);
    return;
  }
}

}  // namespace pgleak
