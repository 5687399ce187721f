#include "core/stall_watch.hpp"

namespace pgleak {

bool operator==(const ProgressEvidence& a, const ProgressEvidence& b) {
  // Any signal wakes the process, and it may even find room to send more; that is no sign of life of a
  // client.
  if (a.transferred && b.transferred)
    return a.change_count == b.change_count && *a.transferred == *b.transferred;
  return a.change_count == b.change_count && a.reports_progress == b.reports_progress &&
         a.counters == b.counters && a.run_time == b.run_time && a.is_sending == b.is_sending &&
         a.unread == b.unread && a.transferred == b.transferred;
}

void StallWatch::observe(const ProgressEvidence& evidence, MonotonicTime now) {
  if (!evidence.is_known()) {
    stop();
    checked_at = now;
    return;
  }
  ProgressEvidence seen = evidence;
  if (disregards_next) seen.run_time = last.run_time;
  if (!since.is_set() || seen != last) since = now;
  last = evidence;
  checked_at = now;
  disregards_next = false;
}

}  // namespace pgleak
