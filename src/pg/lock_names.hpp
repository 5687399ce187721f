// The names of a lock, as pg_locks shows them.
//
// Needs a transaction for names of relations. May ereport (out of memory).
#ifndef PGLEAK_PG_LOCK_NAMES_HPP
#define PGLEAK_PG_LOCK_NAMES_HPP

#include "pg/postgres.hpp"

extern "C" {
#include "storage/lock.h"
}

namespace pgleak {

// pg_locks.locktype or, where replay waits without a lock, its wait event. Static memory; never ereports.
const char* lock_type_name(const LOCKTAG& tag);

// pg_locks.mode; nullptr for a wait without a lock. Static memory; never ereports.
const char* lock_mode_name(const LOCKTAG& tag, int mode);

// True if the lock is on a relation or a part of one.
bool is_relation_lock(const LOCKTAG& tag);

// The relation of such a lock: its name with its schema if it belongs to the database of this process and
// still exists, or else its oid. Allocated in the current memory context.
char* relation_name(const LOCKTAG& tag);

}  // namespace pgleak

#endif
