#include "server/own_session.hpp"

extern "C" {
#include "access/xact.h"
}

namespace pgleak {

SessionSlot* own_session = nullptr;
Trail* own_trail = nullptr;

Generation own_block_generation() {
  const Generation ended = own_session->guest.report().ended_count;
  // An aborted subtransaction leaves its parents running.
  const bool is_over = IsAbortedTransactionBlockState() && GetCurrentTransactionNestLevel() == 1;
  return is_over ? ended - 1 : ended;
}

}  // namespace pgleak
