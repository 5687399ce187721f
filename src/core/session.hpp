// Owns: what is known of one session at one look, and how its transactions are told apart.
// Filled by server/backend_status and server/guest_slot, judged by core/detection and core/episode.
// Must never allocate or know the server. Never ereports.
// Owns: measuring how long a thing seen from outside has lasted, without trusting the wall clock.
// Called by the scanner for each session it considers, and by pgleak.leaks on a copy.
// Must never read a clock or allocate. Never ereports.
#ifndef PGLEAK_CORE_SESSION_HPP
#define PGLEAK_CORE_SESSION_HPP

#include <cstdint>

#include "core/assert.hpp"
#include "core/time.hpp"

namespace pgleak {

// kUnknown covers what says nothing about a transaction: starting up, track_activities off.
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

// As pg_stat_activity.state prints it; nullptr for kUnknown.
const char* to_string(SessionState state);

// A process id alone is reused; with the start time it names one session for ever.
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
inline constexpr int kPortUnknown = 0;   // no address known
inline constexpr int kPortUnixSocket = -1;

// Who the session is, as of login. Text is in the encoding of the session's database.
struct SessionIdentity {
  char database[kNameSize];
  char role[kNameSize];
  char application_name[kNameSize];
  char client_address[kAddressSize];  // numeric; empty for unix sockets
  std::int32_t client_port;
  std::int32_t encoding;   // the server's number of the database's encoding
  std::uint32_t role_oid;  // for permission checks
};

// How a transaction ended, as its own backend published it.
enum class TransactionEnd : std::uint8_t {
  kNone,  // it has not ended
  kCommitted,
  kRolledBack,    // also an error: the block may live on as "aborted"
  kPrepared,      // PREPARE TRANSACTION took it away from the session
  kDisconnected,  // the backend exited inside it; whatever follows is no work of its client
};

// The running number of a transaction within its backend's slot: how many had ended before it. Unlike
// xact_start it also tells apart "BEGIN; COMMIT; BEGIN" sent as one message, and unlike the
// server's lxid it is still there after an error ended the transaction inside its block.
using XactSeq = std::uint64_t;

// One consistent look at one session.
struct SessionStatus {
  SessionId id;
  SessionState state;
  WallTime xact_start;   // none: no transaction, or a plain aborted one
  WallTime state_start;  // since when in `state`
  // What the backend's own guest code published.
  XactSeq ended_count;      // transactions ended so far
  TransactionEnd last_end;  // how the last of them did
  WallTime last_end_start;  // when that last one had begun
};

// The transaction block a session is in.
struct TransactionBlock {
  bool exists;
  XactSeq xact_seq;
  WallTime xact_start;  // also for a plain aborted block, for which the server shows none
};

// The block that `sample` shows. After an error outside of a savepoint the transaction is over, but its
// block lives on until ROLLBACK: it keeps the xact_seq and the start of that transaction. An active session
// that shows no transaction may be in such a block or about to begin a new one: then the block has no start.
// A session that is on its way out is in none.
TransactionBlock current_block(const SessionStatus& sample);

// The server says only *since when* (wall clock) a session is idle or a transaction runs. Subtracting
// that from the current wall clock would make a leak of every session when the clock is set forward.
// So: age = age at first observation + monotonic time since. The age at first observation is bounded by the
// time since the previous look, because a look that already existed would have seen the thing.
// Zero-initialised means "nothing seen yet".
struct Stopwatch {
  WallTime started_at;        // identifies the thing measured
  Micros age_at_first_sight;  // >= 0
  MonotonicTime first_sight_at;

  // Returns the age of the thing that started at `started` (wall clock). `not_before` is the
  // monotonic time at which an earlier look is known to have found another thing or nothing, or none()
  // when there was no such scan.
  Micros observe(WallTime started, Now now, MonotonicTime not_before) {
    PGLEAK_ASSERT(now.monotonic >= not_before);  // that clock never goes back
    if (started != started_at || !first_sight_at.is_set()) {
      Micros age = now.wall > started ? now.wall - started : Micros{0};
      if (not_before.is_set() && age > now.monotonic - not_before) age = now.monotonic - not_before;
      started_at = started;
      age_at_first_sight = age;
      first_sight_at = now.monotonic;
    }
    return age_at_first_sight + (now.monotonic - first_sight_at);
  }

  // Goes on measuring although the thing now says that it started at `started`.
  void carry_over(WallTime started) { started_at = started; }
};

}  // namespace pgleak

#endif
