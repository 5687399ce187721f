// The names of a lock, as pg_locks shows them, and the lock in the two forms that pgleak knows it in.
//
// Needs a transaction for names of relations. May ereport (out of memory).
#ifndef PGLEAK_PG_LOCK_NAMES_HPP
#define PGLEAK_PG_LOCK_NAMES_HPP

#include "core/contention.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
}

namespace pgleak {

inline LockId lock_id(const LOCKTAG& tag) {
  return LockId{tag.locktag_field1, tag.locktag_field2, tag.locktag_field3,
                tag.locktag_field4, tag.locktag_type,   tag.locktag_lockmethodid};
}

inline LOCKTAG tag_of(const LockId& lock) {
  return LOCKTAG{lock.field1, lock.field2, lock.field3, lock.field4, lock.type, lock.method};
}

// `modes` is not 0.
inline std::uint8_t strongest_of(LOCKMASK modes) {
  int mode = 0;
  while (modes >> (mode + 1) != 0) mode++;
  return static_cast<std::uint8_t>(mode);
}

// pg_locks.locktype or, where replay waits without a lock, its wait event. Static memory; never ereports.
const char* lock_type_name(const LOCKTAG& tag);

// pg_locks.mode; nullptr for a wait without a lock. Static memory; never ereports.
const char* lock_mode_name(const LOCKTAG& tag, int mode);

// True if the lock is on a relation or a part of one.
bool is_relation_lock(const LOCKTAG& tag);

// The relation of such a lock: its name with its schema if it belongs to the database of this process and
// still exists, or else its oid. Allocated in the current memory context.
char* relation_name(const LOCKTAG& tag);

// Writes mode and object: "AccessShareLock on public.orders". `relation` is its name; nullptr: show the oid.
// Escaped, so valid UTF-8 whatever the name is; never ereports.
inline constexpr std::size_t kLockTextSize = 256;
void write_lock(const LOCKTAG& tag, int mode, const char* relation, char (&text)[kLockTextSize]);

}  // namespace pgleak

#endif
