// What autovacuum makes of the locks of a leak.
//
// Needs a transaction. May ereport.
#ifndef PGLEAK_PG_AUTOVACUUM_HPP
#define PGLEAK_PG_AUTOVACUUM_HPP

#include <optional>

#include "core/contention.hpp"
#include "core/time.hpp"

namespace pgleak {

// True if autovacuum probably skips one of the tables because of these locks: a guess. Nothing if it cannot
// be told, because they are in a database other than this process's.
std::optional<bool> skipped_by_autovacuum(const Contention& known, MonotonicTime now);

}  // namespace pgleak

#endif
