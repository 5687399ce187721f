// What processes wait for, as pg_stat_activity shows it.
#ifndef PGLEAK_PG_WAIT_EVENT_HPP
#define PGLEAK_PG_WAIT_EVENT_HPP

#include <cstdint>

namespace pgleak {

// What the process at `proc_index` in ProcGlobal->allProcs waits for now: PGPROC.wait_event_info; 0: for
// nothing. Never ereports.
std::uint32_t wait_event_of(int proc_index);

// The wait event's name: ClientRead, and with its type where that is not Client, as in Lock/relation. nullptr
// for 0. Allocated in the current memory context. May ereport.
char* wait_event_name(std::uint32_t info);

}  // namespace pgleak

#endif
