#include "core/stall_watch.hpp"

#include <algorithm>

namespace pgleak {

bool operator==(const ProgressEvidence& a, const ProgressEvidence& b) {
  // Where the bytes are counted the run time says nothing: any signal makes a process run.
  return is_same_work(a, b) && (a.transferred || a.run_time == b.run_time);
}

bool is_same_work(const ProgressEvidence& a, const ProgressEvidence& b) {
  // A process that is woken may find room to send more, which is not the client's work.
  if (a.transferred && b.transferred)
    return a.change_count == b.change_count && *a.transferred == *b.transferred;
  return a.change_count == b.change_count && a.reports_progress == b.reports_progress &&
         a.counters == b.counters && a.is_sending == b.is_sending && a.unread == b.unread &&
         a.transferred == b.transferred;
}

void StallWatch::observe(ProgressEvidence evidence, MonotonicTime now) {
  if (!evidence.is_known()) {
    stop();
    checked_at = now;
    return;
  }
  // The two ends of a connection are read one after the other. What moves between them in the meantime, or
  // waits for a delayed acknowledgement, makes the count too small, never too large.
  if (since.is_set() && evidence.transferred && last.transferred)
    evidence.transferred = std::max(*evidence.transferred, *last.transferred);
  const bool has_worked = disregards_next ? !is_same_work(evidence, last) : evidence != last;
  if (!since.is_set() || has_worked) since = now;
  last = evidence;
  checked_at = now;
  disregards_next = false;
  is_interrupted = false;
}

}  // namespace pgleak
