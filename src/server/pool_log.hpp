// Owns: the words in which a verdict on a pool is told: the log line, and the clock times of the advice.
// Called by the scanner, which holds no transaction, and by pgleak.pools.
// One event is one line that no name or statement can forge or break.
#ifndef PGLEAK_SERVER_POOL_LOG_HPP
#define PGLEAK_SERVER_POOL_LOG_HPP

#include "core/pool_advice.hpp"
#include "server/pool_memory.hpp"

namespace pgleak {

inline constexpr std::size_t kAdviceSize = 1024;

// What the entry at this position of PoolMemory is.
PoolScope pool_scope(int index);

// Writes the advice on the pool, or an empty string, with times as the session's time zone has them (in a
// worker: the server's TimeZone). Valid UTF-8, without control characters. Never ereports.
void write_advice(char (&advice)[kAdviceSize], const PoolState& state, PoolScope scope);

// Logs that the verdict on a pool has changed. Emits a LOG message, nothing worse.
void log_verdict(const Pool& pool, PoolScope scope, Verdict before);

}  // namespace pgleak

#endif
