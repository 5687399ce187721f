// An episode is one leak from its detection to its end; this file also decides how it ended.
//
// The scanner opens and closes episodes, the SQL functions show them, the recorder writes them to the
// history. Lives in shared memory: trivially copyable, no pointers. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_EPISODE_HPP
#define PGLEAK_CORE_EPISODE_HPP

#include <cstdint>
#include <optional>

#include "core/action.hpp"
#include "core/effects.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// What leaks: a session, or a transaction that was prepared (PREPARE TRANSACTION) and belongs to no session.
enum class HolderKind : std::uint8_t { kSession, kPreparedTransaction };

// The name in the column "kind". Static memory.
const char* to_string(HolderKind kind);

// How an episode ended. kNone while it is open.
enum class Outcome : std::uint8_t {
  kNone,
  kCommitted,
  kRolledBack,
  kPrepared,
  kDisconnected,
  kCancelled,   // rolled back by pgleak
  kTerminated,  // its session ended by pgleak
  kReleased,    // of a session in no transaction: nobody waits behind it any more
  kUnknown,     // of a prepared transaction: it is gone, and nobody could tell how it ended
};
inline constexpr int kOutcomeCount = 9;

// The name in history.outcome; nullptr for kNone. Static memory.
const char* to_string(Outcome outcome);

// What changes while the episode is open.
struct EpisodeProgress {
  SessionState last_state;                // at the last scan
  WallTime aborted_since;                 // state_start of its block when last seen without a transaction
  std::optional<Micros> longest_idle;     // longest idle time between two statements so far
  std::optional<Micros> transaction_age;  // at the last scan
  ImpactSample worst;                     // the worst impact so far
  LeakEffects effects;                    // what it cost so far, beside those who wait
  ActionState action;                     // the last action and its result
  bool is_cancelled;  // rolled back in place and left in its aborted block, or its query was cancelled
  std::optional<bool> client_gone;  // as last seen; nothing: the system does not say
  bool terminate_sent;              // terminate was sent, but the backend may still be there
};

struct Episode {
  std::int64_t leak_id;
  SessionId session;
  XactSeq xact_seq;
  HolderKind kind;        // kPreparedTransaction has no session, and of `who` only database and role
  bool is_session_level;  // it holds its locks outside of a transaction, so no transaction's end ends it
  SessionIdentity who;
  WallTime xact_start;
  WallTime prepared_at;  // of a prepared transaction; none: not known
  // At detection.
  WallTime idle_since;
  WallTime detected_at;
  MonotonicTime detected_mono;  // the same moment as `detected_at`, on the monotonic clock
  Micros leak_after;
  std::uint64_t query_id;  // of the statement; 0: unknown
  Clock clock;
  LimitSource limit_source;
  std::int32_t rule_id;  // if limit_source is kRule
  SessionState state;
  std::uint32_t wait_event;  // as the server numbers it; 0: it waited for nothing

  EpisodeProgress progress;
};

// The outcome to show while the episode is open. A cancel by hand of what the session runs now frees nothing
// that it holds outside of transactions.
inline Outcome outcome_so_far(const Episode& episode) {
  return episode.progress.is_cancelled && !episode.is_session_level ? Outcome::kCancelled : Outcome::kNone;
}

// How and when an episode ended.
struct Ending {
  Outcome outcome;  // kNone: it has not ended
  WallTime at;
  Micros lasted;  // from detection to the end
};

// What the status array shows about the backend of an episode.
struct BackendTrace {
  bool is_present;          // the session still exists, so `status` is valid
  SessionState last_state;  // the last visible state, even if the session is gone
  SessionStatus status;
  bool blocks_others;  // by the blocking clock
};

// Returns how the episode ended, or kNone if it goes on. `watched_end` is what the backend published for
// exactly this transaction.
Outcome judge_open(const Episode& episode, const BackendTrace& trace, TransactionEnd watched_end);

// Stores the result of an action in `progress`, and when it may be tried again.
void record_result(EpisodeProgress* progress, Action action, ActionResult result, Now now);

// True if an action that starts, or its result, deserves a log line and an event. If an action keeps failing,
// only its first attempt does.
bool is_reported(const EpisodeProgress& progress);

}  // namespace pgleak

#endif
