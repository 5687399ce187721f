// Owns: everything that differs between PostgreSQL 15, 16, 17, 18 and 19. The only file that may test
// PG_VERSION_NUM. Callers use the names below and know no version.
#ifndef PGLEAK_SERVER_COMPAT_HPP
#define PGLEAK_SERVER_COMPAT_HPP

#include "server/postgres.hpp"

extern "C" {
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#else
#include "storage/backendid.h"
#endif
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif
}

#if PG_VERSION_NUM < 150000
#error "pgleak needs PostgreSQL 15 or later"
#endif

namespace pgleak::compat {

// Index of this process's own entry in the backend status array. Up to 16 the array is ordered by
// BackendId (from 1), from 17 on by ProcNumber (from 0).
inline int my_status_index() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyBackendId - 1;
#endif
}

// Number of entries that can belong to client backends: 0 .. status_slot_count() - 1.
inline int status_slot_count() { return MaxBackends; }

// Position of this process's PGPROC in ProcGlobal->allProcs.
inline int my_proc_index() {
#if PG_VERSION_NUM >= 170000
  return MyProcNumber;
#else
  return MyProc->pgprocno;
#endif
}

// Memory that the settings machinery frees by itself; NULL when there is none. Never ereports.
inline void* guc_extra_allocate(std::size_t size) {
#if PG_VERSION_NUM >= 160000
  return guc_malloc(LOG, size);
#else
  return malloc(size);
#endif
}

// The name under which a worker's sleep appears in pg_stat_activity.wait_event. May ereport.
inline uint32 new_wait_event(const char* name) {
#if PG_VERSION_NUM >= 170000
  return WaitEventExtensionNew(name);
#else
  (void)name;
  return PG_WAIT_EXTENSION;
#endif
}

}  // namespace pgleak::compat

#endif
