#include "core/stall_watch.hpp"

namespace pgleak {

bool operator==(const ProgressEvidence& a, const ProgressEvidence& b) {
  return is_same_work(a, b) && a.run_time == b.run_time;
}

bool is_same_work(const ProgressEvidence& a, const ProgressEvidence& b) {
  return a.change_count == b.change_count && a.reports_progress == b.reports_progress &&
         a.counters == b.counters && a.is_sending == b.is_sending && a.unread == b.unread;
}

void StallWatch::observe(const ProgressEvidence& evidence, MonotonicTime now) {
  if (!evidence.is_known()) {
    stop();
    checked_at = now;
    return;
  }
  const bool has_worked = disregards_next ? !is_same_work(evidence, last) : evidence != last;
  if (!since.is_set() || has_worked) since = now;
  last = evidence;
  checked_at = now;
  disregards_next = false;
}

}  // namespace pgleak
