#include "core/blocking_watch.hpp"

namespace pgleak {

bool BlockingWatch::is_over(const TransactionBlock& block, MonotonicTime now) const {
  if (!since.is_set() || now - last_seen > kBlockingGap) return true;
  return !is_session_level && (!block.exists || block.xact_seq != xact_seq);
}

void BlockingWatch::observe(bool blocks, const TransactionBlock& block, MonotonicTime now) {
  // A lock that outlives its transaction belongs to the session.
  const bool outlives = blocks && since.is_set() && !block.exists;
  if (outlives && now - last_seen <= kBlockingGap) is_session_level = true;
  if (is_over(block, now)) *this = BlockingWatch{};
  if (!blocks) return;
  if (!since.is_set()) *this = BlockingWatch{now, now, block.xact_seq, !block.exists};
  last_seen = now;
}

}  // namespace pgleak
