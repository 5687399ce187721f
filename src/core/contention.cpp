#include "core/contention.hpp"

namespace pgleak {

namespace {

constexpr Micros kRefreshInterval = kSecond;

bool comes_before(const HeldLock& a, const HeldLock& b) {
  return a.waiters != b.waiters ? a.waiters > b.waiters : a.mode > b.mode;
}

bool are_same(const LockId& a, const LockId& b) {
  return a.field1 == b.field1 && a.field2 == b.field2 && a.field3 == b.field3 && a.field4 == b.field4 &&
         a.type == b.type && a.method == b.method;
}

MonotonicTime since_when(const Contention& known, const HeldLock& lock, MonotonicTime now) {
  for (int i = 0; i < known.held.count; i++) {
    const HeldLock& before = known.held.locks[i];
    if (are_same(before.lock, lock.lock) && before.mode >= lock.mode) return known.held_since[i];
  }
  return now;
}

void note_held(Contention* known, const HeldLocks& held, MonotonicTime now) {
  MonotonicTime since[kKeptLocks]{};
  for (int i = 0; i < held.count; i++) since[i] = since_when(*known, held.locks[i], now);
  for (int i = 0; i < kKeptLocks; i++) known->held_since[i] = since[i];
  known->held = held;
}

}  // namespace

void add_lock(HeldLocks* held, const HeldLock& lock) {
  int place = held->count;
  while (place > 0 && comes_before(lock, held->locks[place - 1])) place--;
  if (place == kKeptLocks) return;
  if (held->count < kKeptLocks) held->count++;
  for (int i = held->count - 1; i > place; i--) held->locks[i] = held->locks[i - 1];
  held->locks[place] = lock;
}

bool is_stale(const Contention& known, std::int64_t leak_id, const ImpactSample& last,
              const HeldResources& held, MonotonicTime now) {
  if (held.locks != last.locks || held.blocked != last.blocked) return true;
  if (held.blocked == 0) return false;
  return known.leak_id != leak_id || now - known.read_at >= kRefreshInterval;
}

bool wants_waiting(const Contention& known, std::int64_t leak_id, std::int32_t blocked) {
  return blocked > 0 && (known.leak_id != leak_id || blocked >= known.most_blocked);
}

void note_reading(Contention* known, std::int64_t leak_id, const ContentionReading& reading) {
  if (known->leak_id != leak_id) {
    *known = Contention{};
    known->leak_id = leak_id;
  }
  known->read_at = reading.at;
  note_held(known, reading.held, reading.at);
  if (reading.blocked < known->most_blocked) return;
  if (reading.blocked == 0 && reading.locks < known->most_locks) return;
  known->most_blocked = reading.blocked;
  known->most_locks = reading.locks;
  known->worst_held = reading.held;
  if (reading.blocked > 0) known->waiting = reading.waiting;
}

}  // namespace pgleak
