#include "core/autovacuum_guess.hpp"

namespace pgleak {

bool keeps_autovacuum_out(const HeldLock& lock, MonotonicTime now, Micros naptime) {
  if (lock.lock.type != kRelationLock || lock.mode < kVacuumMode) return false;
  return lock.seen_since.is_set() && now - lock.seen_since > naptime;
}

}  // namespace pgleak
