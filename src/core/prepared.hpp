// What the scanner decides about one prepared transaction: a pure function of what was read of it.
//
// A prepared transaction is a leak once it is older than pgleak.prepared_leak_after, or than
// pgleak.transaction_leak_after, or has kept others waiting for pgleak.blocking_leak_after. It has no
// session, so nothing ever acts on it: decide_prepared() only opens, keeps and closes episodes. Reads no
// clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_PREPARED_HPP
#define PGLEAK_CORE_PREPARED_HPP

#include <cstdint>
#include <optional>

#include "core/blocking_watch.hpp"
#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/impact.hpp"
#include "core/time.hpp"
#include "core/time_budget.hpp"

namespace pgleak {

inline constexpr int kGidSize = 200;  // GIDSIZE of the server; includes the terminating NUL

// Copies an identifier, with its NUL.
inline void copy_gid(char (&to)[kGidSize], const char* gid) {
  int length = 0;
  for (; length < kGidSize - 1 && gid[length] != '\0'; length++) to[length] = gid[length];
  to[length] = '\0';
}

// An episode that an earlier run of the server has recorded and left open.
struct KnownEpisode {
  std::int64_t leak_id;  // 0: none
  WallTime detected_at;
  std::int32_t blocked;  // the most so far
};

// A prepared transaction as the recorder lists it. Texts are in the encoding of its database.
struct PreparedTransaction {
  std::uint32_t xid;  // 0: none
  WallTime prepared_at;
  std::uint32_t role_oid;
  std::int32_t encoding;
  char gid[kGidSize];
  char database[kNameSize];
  char role[kNameSize];
  KnownEpisode known;
};

// How a prepared transaction ended, as the server's commit log has it. kUnknown: it no longer goes back so
// far.
enum class PreparedFate : std::uint8_t { kNone, kCommitted, kRolledBack, kUnknown };

// The clocks of one place for prepared transactions. Zero-initialized: nothing was seen there yet.
struct PreparedClocks {
  std::uint32_t xid;         // of the transaction that they measure
  MonotonicTime first_seen;  // when a scan first saw it
  MonotonicTime not_before;  // an earlier scan that did not see it; none: there was none
  Stopwatch prepared;
  BlockingWatch blocking;
  MonotonicTime gone_since;  // of the open episode's transaction
};

struct PreparedSnapshot {
  int place;  // for the time budget: where the next scan continues
  Now now;
  std::uint32_t xid;                  // of the transaction that is there now; 0: none
  const PreparedTransaction* listed;  // as the recorder has listed it; nullptr: it has not, or not yet
  std::optional<bool> blocks_others;  // nothing if this scan has not looked for that
  std::optional<HeldResources> held;  // read only when a first decision asks for it
  PreparedFate fate;                  // of the open episode's transaction; kNone: not known yet
  MonotonicTime previous_scan;        // none: this is the first one
  PreparedClocks clocks;
};

// The server's own values of the settings above; kNever: off. Rules and the settings of roles are for
// sessions.
struct PreparedLimits {
  Micros prepared;     // if this is off, so is the next one: no age makes a leak
  Micros transaction;  // the age counts from PREPARE TRANSACTION, the start is not known
  Micros blocking;
};

struct PreparedDecision {
  enum class Step : std::uint8_t { kNone, kOpen, kKeep, kClose };

  bool needs_held;  // read it and decide again; nothing else counts then
  bool asks_fate;   // the transaction is gone: ask the recorder how it ended
  Step step;
  PreparedClocks clocks;  // the new clocks, to be stored
  Micros next_due_in;     // until the next scan is needed; kForever: none is needed
  // --- kOpen, kKeep ---
  std::optional<Micros> age;  // since PREPARE TRANSACTION
  Detection detection;        // kOpen
  ImpactSample impact;
  EpisodeProgress progress;  // kKeep
  bool has_begun_to_block;   // kKeep: log it, and queue an event
  // --- kClose ---
  Outcome outcome;
};

// `open` is the open episode of the place, or nullptr.
PreparedDecision decide_prepared(const PreparedSnapshot& snapshot, const Episode* open,
                                 const PreparedLimits& limits, TimeBudget* records);

// The number of the episode of a prepared transaction. Made of what stays the same when the server restarts,
// so that the episode does too. The ids of sessions' episodes are a thousandth as large, and two transactions
// that were prepared in the same microsecond hardly have the same last four bits.
std::int64_t prepared_leak_id(WallTime prepared_at, std::uint32_t xid);

// Writes the statement to type, in the transaction's own database. The gid is quoted as quote_literal() does.
inline constexpr int kRemedySize = 2 * kGidSize + 32;
void write_remedy(const char* gid, char (&text)[kRemedySize]);

// How long the scanner waits for the recorder: to list a transaction, before an episode opens without its
// gid, and to say how one ended, before the outcome is unknown.
inline constexpr Micros kRecorderTimeout = 10 * kSecond;

}  // namespace pgleak

#endif
