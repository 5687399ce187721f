/*
 * A background worker that does nothing but wait, 10 ms at a time: the least that a scanner can cost.
 * Built and loaded by: test/bench/run cpu.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

void _PG_init(void);
PGDLLEXPORT void empty_loop_main(Datum argument);

void _PG_init(void) {
  BackgroundWorker worker = {0};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_ConsistentState;
  strlcpy(worker.bgw_name, "empty loop", BGW_MAXLEN);
  strlcpy(worker.bgw_type, "empty loop", BGW_MAXLEN);
  strlcpy(worker.bgw_library_name, "empty_loop", sizeof(worker.bgw_library_name));
  strlcpy(worker.bgw_function_name, "empty_loop_main", BGW_MAXLEN);
  RegisterBackgroundWorker(&worker);
}

void empty_loop_main(Datum argument) {
  BackgroundWorkerUnblockSignals();
  BackgroundWorkerInitializeConnection(NULL, NULL, 0); /* to be found in pg_stat_activity */
  for (;;) {
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
  }
}
