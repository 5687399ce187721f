// A guess: does autovacuum skip a table because of a lock that a leak holds?
//
// Autovacuum tries to lock a table and goes on to the next one if it cannot, and the server counts that
// nowhere. (To prevent a wraparound it waits, and waiting can be seen.) What is known is the lock that keeps
// it out, and since when. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_AUTOVACUUM_GUESS_HPP
#define PGLEAK_CORE_AUTOVACUUM_GUESS_HPP

#include "core/contention.hpp"
#include "core/time.hpp"

namespace pgleak {

// The server's SHARE UPDATE EXCLUSIVE, which VACUUM needs. It conflicts with itself and every stronger mode.
inline constexpr std::uint8_t kVacuumMode = 4;

// The type of a lock on a relation in the server's numbering.
inline constexpr std::uint8_t kRelationLock = 0;

// True if autovacuum, which comes along every `naptime`, has probably met this lock, seen first at `since`,
// provided that it is on a table.
bool keeps_autovacuum_out(const HeldLock& lock, MonotonicTime since, MonotonicTime now, Micros naptime);

}  // namespace pgleak

#endif
