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
  char busy_since[kClockTextSize];
  char exhausted_at[kClockTextSize];
};

// Appends nothing if there is nothing to do.
void append_advice(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times);

}  // namespace pgleak

#endif
