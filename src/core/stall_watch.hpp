// Measures how long a session that waits for its client in the middle of something has made no progress: in
// COPY FROM STDIN, in a pipeline without Sync, or while the client does not read what it is sent.
//
// A wait event carries no time, so nothing tells a stalled client from a slow one at any single moment.
// Evidence of work between two moments does: a slow client still makes its backend run. The evidence is
// compared, never interpreted.
//
// core/decision feeds it with what the scanner read. Lives in shared memory. Reads no clock, allocates
// nothing, never ereports.
#ifndef PGLEAK_CORE_STALL_WATCH_HPP
#define PGLEAK_CORE_STALL_WATCH_HPP

#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace pgleak {

// What a session has done so far. Each value changes when the session works, though not at each step.
struct ProgressEvidence {
  std::uint32_t change_count;               // of its entry in the backend status array
  bool reports_progress;                    // COPY and other commands publish counters
  std::uint64_t counters;                   // a digest of them
  std::optional<std::int64_t> run_time;     // ns that its process has spent on a processor; nothing: unknown
  bool is_sending;                          // it waits for its client to read
  std::optional<std::int64_t> unread;       // bytes that its client has not read yet; nothing: unknown
  std::optional<std::int64_t> transferred;  // bytes exchanged with its client so far; nothing: unknown

  // Without evidence, no session is called stalled. While a client reads slowly, the process may sleep for
  // half a minute: only the queue tells.
  bool is_known() const {
    if (transferred) return true;
    if (is_sending) return run_time.has_value() && unread.has_value();
    return reports_progress || run_time.has_value();
  }
};

bool operator==(const ProgressEvidence& a, const ProgressEvidence& b);
// The same but for the run time, which a signal changes as well.
bool is_same_work(const ProgressEvidence& a, const ProgressEvidence& b);
inline bool operator!=(const ProgressEvidence& a, const ProgressEvidence& b) { return !(a == b); }

// Zero-initialized: the session is not waiting for its client, or was not looked at yet.
struct StallWatch {
  ProgressEvidence last;
  MonotonicTime since;       // when `last` was first seen; none: not measuring
  MonotonicTime checked_at;  // when the evidence was last read
  bool disregards_next;      // what is seen next is our own doing
  bool is_interrupted;       // it does not wait for its client now

  // True if the evidence should be read at `now`: it costs a system call or two.
  bool wants_evidence(MonotonicTime now) const {
    return !checked_at.is_set() || now - checked_at >= kEvidenceInterval;
  }
  void observe(ProgressEvidence evidence, MonotonicTime now);
  void stop() { *this = StallWatch{}; }

  // Call if it does not wait for its client at `now`. Any signal wakes a session for a moment, so this alone
  // is no sign of work; the evidence decides when it waits again soon.
  void interrupt(MonotonicTime now) {
    if (!since.is_set() || now - checked_at >= kLongestInterruption) return stop();
    is_interrupted = true;
  }

  // A signal of our own makes the session run, which is no sign of life of its client.
  void disregard_next() { disregards_next = true; }

  // Time until the evidence may be read again.
  Micros next_check_in(MonotonicTime now) const {
    return wants_evidence(now) ? Micros{0} : kEvidenceInterval - (now - checked_at);
  }

  // How long the session was seen to make no progress, up to the last check; nothing if not measuring, or
  // while it is interrupted.
  std::optional<Micros> age() const {
    if (!since.is_set() || is_interrupted) return std::nullopt;
    return checked_at - since;
  }

  static constexpr Micros kEvidenceInterval = kSecond;
  static constexpr Micros kLongestInterruption = 2 * kSecond;
};

}  // namespace pgleak

#endif
