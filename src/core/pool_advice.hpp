// Owns: the one sentence that tells what to do about a pool, with its numbers.
// Called by pgleak.pools and for the log. Must never allocate, know the server or read a clock. Never
// ereports.
#ifndef PGLEAK_CORE_POOL_ADVICE_HPP
#define PGLEAK_CORE_POOL_ADVICE_HPP

#include "core/pool.hpp"
#include "core/text.hpp"

namespace pgleak {

inline constexpr int kClockTextSize = 32;

// Points in time as the reader's clock shows them ("10:02"); empty where there is none.
struct AdviceTimes {
  char leaking_since[kClockTextSize];
  char busy_since[kClockTextSize];
  char exhausted_at[kClockTextSize];
};

// Appends nothing if there is nothing to do.
void append_advice(TextBuffer* text, const PoolState& state, PoolScope scope, const AdviceTimes& times);

}  // namespace pgleak

#endif
