#include "core/stall_watch.hpp"

namespace pgleak {

bool operator==(const ProgressEvidence& a, const ProgressEvidence& b) {
  return a.change_count == b.change_count && a.reports_progress == b.reports_progress &&
         a.counters == b.counters && a.run_time == b.run_time && a.unsent == b.unsent;
}

void StallWatch::observe(const ProgressEvidence& evidence, MonotonicTime now) {
  if (!evidence.is_known()) return stop();
  const bool has_run = evidence != last && !(disregards_next && evidence.change_count == last.change_count);
  if (!since.is_set() || has_run) since = now;
  last = evidence;
  checked_at = now;
  disregards_next = false;
}

}  // namespace pgleak
