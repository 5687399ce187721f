// Owns: an episode, that is one leak from its detection to its end, and the decision how it ended.
// Opened and closed by the scanner, shown by the SQL functions, written to history by the recorder.
// Lives in shared memory: trivially copyable, no pointers. Must never allocate. Never ereports.
#ifndef PGLEAK_CORE_EPISODE_HPP
#define PGLEAK_CORE_EPISODE_HPP

#include <cstdint>
#include <optional>

#include "core/action.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// How an episode ended. kNone while it is open.
enum class Outcome : std::uint8_t {
  kNone,
  kCommitted,
  kRolledBack,
  kPrepared,
  kDisconnected,
  kCancelled,   // rolled back by pgleak
  kTerminated,  // its session ended by pgleak
};
inline constexpr int kOutcomeCount = 7;

// As history.outcome prints it; nullptr for kNone.
const char* to_string(Outcome outcome);

// What changes while the episode is open.
struct EpisodeProgress {
  SessionState last_state;                // at the last scan
  WallTime aborted_since;                 // the state in which its block was last seen without a transaction
  std::optional<Micros> longest_idle;     // longest time idle between two statements so far
  std::optional<Micros> transaction_age;  // at the last scan
  ImpactSample worst;                     // what it has hurt so far, at its worst
  ActionState action;                     // what was done about it
  bool is_cancelled;    // rolled back in place and left in its aborted block, or its query cancelled
  bool terminate_sent;  // told to exit, though its backend may still be there
};

struct Episode {
  std::int64_t leak_id;
  SessionId session;
  XactSeq xact_seq;
  SessionIdentity who;
  WallTime xact_start;
  // At detection.
  WallTime idle_since;
  WallTime detected_at;
  MonotonicTime detected_mono;  // the same moment on the monotonic clock
  Micros leak_after;
  std::uint64_t query_id;  // of the statement; 0 unknown
  Clock clock;
  LimitSource limit_source;
  std::int32_t rule_id;  // of the rule, if that is the source
  SessionState state;

  EpisodeProgress progress;
};

// What can be said of the outcome while the episode is open.
inline Outcome outcome_so_far(const Episode& episode) {
  return episode.progress.is_cancelled ? Outcome::kCancelled : Outcome::kNone;
}

// How and when an episode ended.
struct Ending {
  Outcome outcome;  // kNone: it did not
  WallTime at;
  Micros lasted;  // from detection to the end
};

// What the status array shows of the backend of an episode.
struct BackendTrace {
  bool is_present;          // the same session is still there: `status` is valid
  SessionState last_state;  // the last state it showed, also when it is gone
  SessionStatus status;
};

// Says whether the episode goes on (kNone) or how it ended. `watched_end` is what the backend published
// for exactly this transaction.
Outcome judge_open(const Episode& episode, const BackendTrace& trace, TransactionEnd watched_end);

// Notes in `progress` what became of an action, and when it may be tried again.
void record_result(EpisodeProgress* progress, Action action, ActionResult result, Now now);

// Whether an action that begins, or its result, is worth a log line and an event: of one that fails again and
// again only the first attempt is.
bool is_reported(const EpisodeProgress& progress);

}  // namespace pgleak

#endif
