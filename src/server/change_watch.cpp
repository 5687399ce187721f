#include "server/change_watch.hpp"

#include "server/compat.hpp"

extern "C" {
#include "access/xlog.h"
}

namespace pgleak {

bool may_find_news(ChangeWatch* watch, MonotonicTime now) {
  return watch->may_find_news(compat::ended_transactions(), now) || RecoveryInProgress();
}

}  // namespace pgleak
