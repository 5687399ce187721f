// Suggests values for the limits from the idle times of the pools, with the reason for each: limits that
// report or end what stands out, and that no pool reaches in what it regularly does.
//
// pgleak.choose_limits() shows it. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_LIMIT_ADVICE_HPP
#define PGLEAK_CORE_LIMIT_ADVICE_HPP

#include <cstdint>
#include <optional>

#include "core/idle_times.hpp"
#include "core/limits.hpp"
#include "core/text.hpp"
#include "core/time.hpp"

namespace pgleak {

// With fewer times in a pool, or in all of them, little can be said about what is regular.
inline constexpr std::uint64_t kEnoughIdleTimes = 100;

// Actions are suggested only for what was watched that long: some jobs run once a day.
inline constexpr Micros kEnoughForActions = 86400 * kSecond;

// A pool that needs a longer limit than this gets a rule of its own, unless all of them do.
inline constexpr Micros kLongestShared = 60 * kSecond;

// The suggested leak limit is this many times the longest regular idle time, and a limit of an action at
// least this many times the longest of all.
inline constexpr std::int64_t kLeakFactor = 3;
inline constexpr std::int64_t kActionFactor = 2;

// What is known of one pool.
struct PoolIdleness {
  const char* name;  // application_name
  std::uint64_t count;
  std::uint64_t exceptions;  // those that stand apart from the rest
  Micros p99;
  Micros regular;  // the longest without the exceptions
  Micros longest;
  bool is_exempt[kLimitCount];  // by limit_index(): the server's limit does not reach the pool
};

// `times` is not empty. A few times stand apart if they are much longer than all others: sessions that were
// lost for a while, or a job that runs once a day.
PoolIdleness describe_idleness(const char* name, const IdleTimes& times);

// Notes that the pool has values that come before the server's limits: those of a rule, or of its sessions
// themselves. An action is never due before its leak limit, so a longer one of these keeps it away, too.
void note_exemption(PoolIdleness* pool, const LimitValues& values);

struct IdlenessFacts {
  const PoolIdleness* pools;  // those with any idle times
  int pool_count;
  Micros watched_for;  // since counting began
};

// Appends the reason to `reason`. Returns the suggested value of the limit; nothing if the idle times do not
// support one. `current` is the server's limits.
std::optional<Micros> suggest_limit(int index, const IdlenessFacts& facts, const LimitValues& current,
                                    TextBuffer* reason);

// Appends a limit as a setting takes and shows it: "90s", "5min", "0".
void append_limit(TextBuffer* text, Micros limit);

}  // namespace pgleak

#endif
