// What the open leaks of one pool have in common, how earlier ones ended, and what that says about the cause:
// lost connections, or something that only looks like it.
//
// The scanner fills it once a second. Lives in shared memory: trivially copyable. Reads no clock, allocates
// nothing, never ereports.
#ifndef PGLEAK_CORE_LEAK_PATTERN_HPP
#define PGLEAK_CORE_LEAK_PATTERN_HPP

#include <cstdint>

#include "core/episode.hpp"
#include "core/statement_kind.hpp"
#include "core/tags.hpp"
#include "core/time.hpp"

namespace pgleak {

// Where one leak comes from, as far as its statements tell.
struct LeakOrigin {
  char route[kRouteSize];           // empty: not known
  char code[kCodeSize];             // empty: not known
  char statement[kFirstWordsSize];  // its first words; empty: not known
  StatementKind kind;
  bool touches_nothing;  // its transaction holds no lock and no transaction id
};

// What the open leaks of a pool have in common.
struct LeakSummary {
  std::int32_t count;
  std::int32_t idle;        // the leaks that are idle in their transaction
  std::int32_t begun;       // those that have run nothing but BEGIN
  std::int32_t probes;      // those that have only run one and the same statement that reads no table
  WallTime since;           // when the first of them became idle or started its transaction
  MonotonicTime oldest_on;  // when the first of them was detected
  WallTime first_began;     // the first and last start of their transactions
  WallTime last_began;
  std::uint64_t query_id;           // of their last statement; 0: they differ or it is unknown
  char route[kRouteSize];           // that their tags name; empty: they differ or it is unknown
  char code[kCodeSize];             // the place in the source that their tags name; empty: the same
  char statement[kFirstWordsSize];  // first words of it; empty: they differ or it is unknown
  char probe[kFirstWordsSize];      // first words of that of `probes`

  void add(const Episode& episode, const LeakOrigin& origin);
  void add(const LeakSummary& others);
};

// How leaks ended.
struct LeakEnds {
  std::int32_t count;
  std::int32_t committed;
  std::int32_t returned;  // committed or rolled back by their client
  std::int32_t terminated;
  Micros longest;  // of those that returned, from the detection on

  void add(Outcome outcome, Micros lasted);
  void add(const LeakEnds& others);
};

// Those of the last hour, to half an hour. Zero-initialized: none yet.
class RecentEnds {
 public:
  void record(const LeakEnds& ends, MonotonicTime now);
  LeakEnds sum() const;

 private:
  MonotonicTime since_;  // start of the current half; none: nothing is recorded
  LeakEnds current_;
  LeakEnds former_;
};

enum class LeakPattern : std::uint8_t {
  kNone,    // there are no leaks
  kLost,    // connections that nobody gives back
  kNested,  // the pool waits for itself: each request holds a connection and waits for a second one
  kProbe,   // free connections in a transaction that the pool's own test query has opened
  kSlow,    // requests that take long, and commit in the end
};

// What a pattern depends on.
struct PatternFacts {
  std::int32_t connections;
  std::int32_t idle;
  std::int32_t in_use;
  std::int32_t idle_in_transaction;
  bool has_returned;        // some leak of the pool has ever been given back by its client
  Micros without_turnover;  // how long no session of the pool has ended a transaction
};

LeakPattern find_pattern(const LeakSummary& leaks, const LeakEnds& recent, const PatternFacts& facts,
                         MonotonicTime now);

// True if the leaks are connections that the pool has lost, for now at least.
inline bool is_loss(LeakPattern pattern) {
  return pattern == LeakPattern::kLost || pattern == LeakPattern::kNested;
}

}  // namespace pgleak

#endif
