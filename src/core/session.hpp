// Owns: what is known of one session at one look, and how its transactions are told apart.
// Filled by server/backend_status and server/guest_slot, judged by core/detection and core/episode.
// Must never allocate or know the server. Never ereports.
#ifndef PGLEAK_CORE_SESSION_HPP
#define PGLEAK_CORE_SESSION_HPP

#include <cstdint>

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
using Generation = std::uint64_t;

// One consistent look at one session.
struct SessionSample {
  SessionId id;
  SessionState state;
  WallTime xact_start;   // 0: no transaction, or a plain aborted one
  WallTime state_start;  // since when in `state`
  // What the backend's own guest code published.
  Generation ended_count;   // transactions ended so far
  TransactionEnd last_end;  // how the last of them did
  WallTime last_end_start;  // when that last one had begun
};

// The transaction block a session is in.
struct Block {
  bool exists;
  Generation generation;
  WallTime xact_start;  // also for a plain aborted block, for which the server shows none
};

// The block that `sample` shows. After an error outside of a savepoint the transaction is over, but its
// block lives on until ROLLBACK: it keeps the generation and the start of that transaction. An active session
// that shows no transaction may be in such a block or about to begin a new one: then the block has no start.
// A session that is on its way out is in none.
Block current_block(const SessionSample& sample);

}  // namespace pgleak

#endif
