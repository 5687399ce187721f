#include "server/own_session.hpp"

extern "C" {
#include "access/xact.h"
}

namespace pgleak {

SessionSlot* own_session = nullptr;
Trail* own_trail = nullptr;

bool is_in_aborted_block() {
  return IsAbortedTransactionBlockState() && GetCurrentTransactionNestLevel() == 1;
}

}  // namespace pgleak
