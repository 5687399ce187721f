// The status of one session at one moment, how its transactions are told apart, and how to measure a duration
// from outside without trusting the wall clock.
//
// pg/backend_status and shmem/backend_slot fill it; core/ decides on it. Reads no clock, allocates nothing,
// never ereports.
#ifndef PGLEAK_CORE_SESSION_HPP
#define PGLEAK_CORE_SESSION_HPP

#include <cstdint>

#include "core/assert.hpp"
#include "core/time.hpp"

namespace pgleak {

// kUnknown: the state says nothing about a transaction (starting up, track_activities off).
enum class SessionState : std::uint8_t {
  kUnknown,
  kIdle,
  kActive,
  kFastpath,
  kIdleInTransaction,
  kIdleInTransactionAborted,
};

inline bool is_idle_in_transaction(SessionState state) {
  return state == SessionState::kIdleInTransaction || state == SessionState::kIdleInTransactionAborted;
}

inline bool is_active(SessionState state) {
  return state == SessionState::kActive || state == SessionState::kFastpath;
}

// The name in pg_stat_activity.state; nullptr for kUnknown. Static memory.
const char* to_string(SessionState state);

// A process id alone is reused; together with the start time it identifies one session.
struct SessionId {
  std::int32_t pid;
  WallTime backend_start;
};

inline bool operator==(const SessionId& a, const SessionId& b) {
  return a.pid == b.pid && a.backend_start == b.backend_start;
}
inline bool operator!=(const SessionId& a, const SessionId& b) { return !(a == b); }

inline constexpr int kNameSize = 64;     // NAMEDATALEN; includes the terminating NUL
inline constexpr int kAddressSize = 46;  // INET6_ADDRSTRLEN
inline constexpr int kPortUnknown = 0;   // also for a session without an address
inline constexpr int kPortUnixSocket = -1;

// Who the session is, as of login. Texts are in the encoding of the session's database.
struct SessionIdentity {
  char database[kNameSize];
  char role[kNameSize];
  char application_name[kNameSize];
  char client_address[kAddressSize];  // numeric; empty for Unix sockets
  std::int32_t client_port;
  std::int32_t encoding;   // number of the database's encoding
  std::uint32_t role_oid;  // for permission checks
};

// How a transaction ended, as its own backend published it.
enum class TransactionEnd : std::uint8_t {
  kNone,  // it has not ended
  kCommitted,
  kRolledBack,    // also after an error: its block may remain as "aborted"
  kPrepared,      // PREPARE TRANSACTION detached it from the session
  kDisconnected,  // the backend exited inside it; transactions after that are not its client's
};

// The number of a transaction within its backend's slot: how many ended before it. Unlike xact_start it tells
// apart the transactions of "BEGIN; COMMIT; BEGIN" in one message, and unlike the server's lxid it remains
// known after an error has ended the transaction but not its block.
using XactSeq = std::uint64_t;

// A consistent status of one session.
struct SessionStatus {
  SessionId id;
  SessionState state;
  WallTime xact_start;   // none: no transaction, or a plain aborted block
  WallTime state_start;  // since when in `state`
  // Published by the backend's own pgleak code.
  XactSeq ended_count;      // transactions ended so far
  TransactionEnd last_end;  // how the last of them ended
  WallTime last_end_start;  // when the last of them started
  bool is_delivering;       // idle outside of a transaction, but its client does not read its notifications
};

// The transaction block that a session is in.
struct TransactionBlock {
  bool exists;
  XactSeq xact_seq;
  WallTime xact_start;  // set also for a plain aborted block, for which the server shows none
};

// Returns the block that `status` shows. After an error outside a savepoint the transaction is over, but its
// block remains until ROLLBACK and keeps the xact_seq and the start of that transaction. An active session
// without a visible transaction may be in such a block or about to start a new one; then the block has no
// start. A session that delivers notifications while it is idle is in a transaction of the server's own, or
// has left it and waits for its client to read; the next transaction stands for that. A session that is
// exiting is in no block.
TransactionBlock current_block(const SessionStatus& status);

// The xact_seq of the block that the session is in or, outside of one, of its next transaction.
inline XactSeq current_seq(const SessionStatus& status) {
  const TransactionBlock block = current_block(status);
  return block.exists ? block.xact_seq : status.ended_count;
}

// Measures how long something observed from outside has lasted. The server only says *since when* (by the
// wall clock) a session has been idle or a transaction has run. Subtracting that from the current wall clock
// would turn every session into a leak when the clock is set forward. So the age is the age at first sight
// plus the monotonic time since. The age at first sight is bounded by the time since the previous scan, which
// would have seen the thing if it had existed. Zero-initialized means that nothing was seen yet.
struct Stopwatch {
  WallTime started_at;        // identifies what is measured
  Micros age_at_first_sight;  // >= 0
  MonotonicTime first_sight_at;

  // Returns the age of what started at `started` (wall clock). `not_before` is the monotonic time of an
  // earlier scan that is known to have seen something else or nothing; none() if there was no such scan.
  Micros observe(WallTime started, Now now, MonotonicTime not_before) {
    PGLEAK_ASSERT(now.monotonic >= not_before);  // the monotonic clock never goes back
    if (started != started_at || !first_sight_at.is_set()) {
      Micros age = now.wall > started ? now.wall - started : Micros{0};
      if (not_before.is_set() && age > now.monotonic - not_before) age = now.monotonic - not_before;
      started_at = started;
      age_at_first_sight = age;
      first_sight_at = now.monotonic;
    }
    return age_at_first_sight + (now.monotonic - first_sight_at);
  }

  // Continues the measurement although the start is now reported as `started`.
  void carry_over(WallTime started) { started_at = started; }
};

}  // namespace pgleak

#endif
