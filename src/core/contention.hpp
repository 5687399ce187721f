// What a leak keeps from others: the locks that it holds, and the sessions that wait behind it. Only the few
// that matter most are kept.
//
// The scanner fills it for open leaks; it lives in shared memory: trivially copyable, no pointers. Allocates
// nothing, never ereports.
#ifndef PGLEAK_CORE_CONTENTION_HPP
#define PGLEAK_CORE_CONTENTION_HPP

#include <cstdint>

#include "core/impact.hpp"
#include "core/session.hpp"
#include "core/time.hpp"

namespace pgleak {

// What is locked: the server's LOCKTAG.
struct LockId {
  std::uint32_t field1;
  std::uint32_t field2;
  std::uint32_t field3;
  std::uint16_t field4;
  std::uint8_t type;
  std::uint8_t method;
};

struct HeldLock {
  LockId lock;
  std::int32_t waiters;  // processes in its queue that wait for this holder, directly or behind one that does
  std::uint8_t mode;     // the strongest one held
};

inline constexpr int kKeptLocks = 8;
inline constexpr int kKeptWaiters = 8;

// The locks with the most waiters, then the strongest.
struct HeldLocks {
  std::int32_t count;
  bool listens;  // the tail of the notification queue is held too
  HeldLock locks[kKeptLocks];
};

// Puts the lock into its place if it is among the first kKeptLocks. Of equals, the one added first is first.
void add_lock(HeldLocks* held, const HeldLock& lock);

// One session that waits behind a leak.
struct WaitingSession {
  WallTime since;          // none: its first moment
  std::uint64_t query_id;  // 0: unknown
  std::int32_t pid;
  std::uint32_t role_oid;      // for permission checks
  std::uint32_t database_oid;  // for the encoding of its name
  LockId lock;
  std::uint8_t mode;          // requested
  std::uint8_t backend_type;  // the server's BackendType
  bool is_direct;             // it waits for the leak itself
  char application_name[kNameSize];
};

// Those nearest to the leak.
struct WaitingSessions {
  std::int32_t count;
  WaitingSession sessions[kKeptWaiters];
};

// What one scan has read.
struct ContentionReading {
  MonotonicTime at;
  std::int32_t locks;    // all of them
  std::int32_t blocked;  // all of them
  HeldLocks held;
  WaitingSessions waiting;  // only if wants_waiting()
};

// What is known of one leak.
struct Contention {
  std::int64_t leak_id;   // 0: of none yet
  MonotonicTime read_at;  // when `held` was
  HeldLocks held;
  MonotonicTime held_since[kKeptLocks];  // when each of these was first seen, in a mode as strong
  // At the worst moment so far: with the most sessions blocked or, where nobody is, with the most locks.
  std::int32_t most_blocked;
  std::int32_t most_locks;
  HeldLocks worst_held;
  WaitingSessions waiting;
};

// True if the locks of leak `leak_id` have to be read: their number, or that of the sessions blocked, differs
// from the last scan's (`last`), or somebody waits and a second has passed. Within a transaction locks are
// added, seldom exchanged, so that a leak without waiters costs one comparison.
bool is_stale(const Contention& known, std::int64_t leak_id, const ImpactSample& last,
              const HeldResources& held, MonotonicTime now);

// True if it is no better now than at the worst moment so far, so that those who wait have to be read.
bool wants_waiting(const Contention& known, std::int64_t leak_id, std::int32_t blocked);

// Takes over what was read of leak `leak_id`. Forgets the leak before it.
void note_reading(Contention* known, std::int64_t leak_id, const ContentionReading& reading);

}  // namespace pgleak

#endif
