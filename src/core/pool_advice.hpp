// The one sentence that says what to do about a pool, with its numbers, for pgleak.pools and the log.
//
// Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_POOL_ADVICE_HPP
#define PGLEAK_CORE_POOL_ADVICE_HPP

#include "core/pool.hpp"
#include "core/text.hpp"

namespace pgleak {

inline constexpr int kClockTextSize = 32;

// Times as the reader's clock shows them ("10:02"); empty where there is none.
struct AdviceTimes {
  char leaking_since[kClockTextSize];
  char working_since[kClockTextSize];
  char exhausted_at[kClockTextSize];
  char terminated_at[kClockTextSize];
};

// What only the server can say about PoolState::waits.blocker. Strings may be nullptr: not known.
struct BlockerNames {
  const char* lock;      // "AccessShareLock on public.orders"
  const char* gid;       // of a prepared transaction
  const char* database;  // of a prepared transaction
  bool is_visible;       // the reader may see the state of the session
};

struct AdviceFacts {
  WallTime now;
  AdviceTimes times;
  BlockerNames blocker;
};

// Appends nothing if there is nothing to do.
void append_advice(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceFacts& facts);

// The part that says for whom the pool waits, and what ends that.
void append_blocked(TextBuffer* text, const PoolState& state, const AdviceFacts& facts);

// "14 of 15"; omits the total where it is unknown.
void append_part(TextBuffer* text, std::int32_t part, std::int32_t whole);

}  // namespace pgleak

#endif
