#include "core/autovacuum_guess.hpp"

namespace pgleak {

bool keeps_autovacuum_out(const HeldLock& lock, MonotonicTime since, MonotonicTime now, Micros naptime) {
  if (lock.lock.type != kRelationLock || lock.mode < kVacuumMode) return false;
  return since.is_set() && now - since > naptime;
}

}  // namespace pgleak
