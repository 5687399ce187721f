// Measures how long a session has kept others waiting for its locks.
//
// core/decision feeds it with what the scanner saw in the lock table; pgleak.leaks reads it. Lives in shared
// memory. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_BLOCKING_WATCH_HPP
#define PGLEAK_CORE_BLOCKING_WATCH_HPP

#include <optional>

#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// How long nobody may wait without ending the measurement. Waiters with a short lock_timeout come and go:
// each attempt is over within milliseconds, and the next one follows after a pause.
inline constexpr Micros kBlockingGap = 10 * kSecond;

// How often the scanner looks for waiters where they are to be expected. It sees even those with a
// lock_timeout of 50 ms.
inline constexpr Micros kWaiterPollInterval = 40 * kMillisecond;

// Zero-initialized: nobody has waited yet. A transaction releases its locks when it ends, so the next one of
// the same session starts from zero. Only what the session holds outside of a transaction, such as a
// session-level advisory lock, survives that.
struct BlockingWatch {
  MonotonicTime since;      // when somebody was first seen waiting; none: nobody waits
  MonotonicTime last_seen;  // when somebody was last seen waiting
  XactSeq xact_seq;         // of the transaction that holds the lock
  bool is_session_level;    // the session has kept others waiting while it was in no transaction

  // Notes at `now` whether others wait behind the session, whose block is `block`.
  void observe(bool blocks, const TransactionBlock& block, MonotonicTime now);

  // The session no longer holds what others waited for, or nobody has waited for a while.
  bool is_over(const TransactionBlock& block, MonotonicTime now) const;

  // How long the session has kept others waiting, up to the last of them; nothing if it does not. The time
  // since then counts only if somebody comes again: one who waited for a moment makes no leak.
  std::optional<Micros> age(const TransactionBlock& block, MonotonicTime now) const {
    if (is_over(block, now)) return std::nullopt;
    return last_seen - since;
  }
};

}  // namespace pgleak

#endif
