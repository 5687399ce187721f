#include "pg/worker.hpp"

#include "pg/compat.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "libpq/pqsignal.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/pidfile.h"
}

namespace pgleak {

namespace {

constexpr int kRestartAfterSeconds = 1;

std::atomic<std::int32_t>* published_proc_index = nullptr;
volatile sig_atomic_t interruptible = false;

// Gives up whatever waits or runs long, as a cancelled query does: with an ERROR, after which the worker can
// still do its final work. A FATAL, as in other backends, would not allow that.
void give_up_query() {
  InterruptPending = true;
  QueryCancelPending = true;
}

void handle_sigterm(PGLEAK_UNUSED_SIGNAL_ARGS) {
  const int saved_errno = errno;
  ShutdownRequestPending = true;
  if (interruptible) give_up_query();
  SetLatch(MyLatch);
  errno = saved_errno;
}

void withdraw_worker(int, Datum) { published_proc_index->store(kNoProcess, std::memory_order_release); }

}  // namespace

void register_worker(const char* name, const char* entry_point) {
  BackgroundWorker worker{};
  worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
  worker.bgw_start_time = BgWorkerStart_ConsistentState;
  worker.bgw_restart_time = kRestartAfterSeconds;
  strlcpy(worker.bgw_name, name, BGW_MAXLEN);
  strlcpy(worker.bgw_type, name, BGW_MAXLEN);
  strlcpy(worker.bgw_library_name, "pgleak", sizeof(worker.bgw_library_name));
  strlcpy(worker.bgw_function_name, entry_point, BGW_MAXLEN);
  RegisterBackgroundWorker(&worker);
}

void start_worker(std::atomic<std::int32_t>* proc_index) {
  Assert(MyBackendType == B_BG_WORKER && published_proc_index == nullptr);
  pqsignal(SIGHUP, SignalHandlerForConfigReload);
  pqsignal(SIGTERM, handle_sigterm);
  BackgroundWorkerUnblockSignals();

  published_proc_index = proc_index;
  before_shmem_exit(withdraw_worker, 0);
  proc_index->store(compat::my_proc_index(), std::memory_order_release);
}

bool worker_should_stop() { return ShutdownRequestPending; }

void set_interruptible(bool is_interruptible) {
  interruptible = is_interruptible;
  if (!is_interruptible)
    QueryCancelPending = false;  // it came too late to matter
  else if (ShutdownRequestPending)
    give_up_query();  // it came before the flag was set
}

bool sleep_worker(Micros duration, std::uint32_t wait_event) {
  Assert(published_proc_index != nullptr);
  if (duration > Micros{0} && !ShutdownRequestPending) {
    // Rounded up; otherwise the last fraction of a millisecond would be a busy loop.
    const std::int64_t milliseconds = (duration - Micros{1}) / kMillisecond + 1;
    const long timeout = static_cast<long>(milliseconds < INT_MAX ? milliseconds : INT_MAX);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, wait_event);
  }
  ResetLatch(MyLatch);
  // Barriers come first: DROP DATABASE and others wait until every process has handled them.
  CHECK_FOR_INTERRUPTS();
  if (!ConfigReloadPending) return false;
  ConfigReloadPending = false;
  ProcessConfigFile(PGC_SIGHUP);
  return true;
}

bool is_server_stopping() {
  // The postmaster writes its state into its PID file before it signals any process.
  FILE* file = AllocateFile("postmaster.pid", "r");
  if (file == nullptr) return true;
  char line[MAXPGPATH] = "";
  for (int i = 0; i < LOCK_FILE_LINE_PM_STATUS; i++) {
    if (fgets(line, sizeof(line), file) == nullptr) {
      line[0] = '\0';
      break;
    }
  }
  FreeFile(file);
  return strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

void exit_worker() {
  Assert(published_proc_index != nullptr);
  proc_exit(is_server_stopping() ? 0 : 1);
}

void wake_worker(const std::atomic<std::int32_t>& proc_index) {
  const std::int32_t index = proc_index.load(std::memory_order_acquire);
  // The PGPROC of a worker that has exited remains valid; setting its latch then has no effect.
  if (index != kNoProcess) SetLatch(&ProcGlobal->allProcs[index].procLatch);
}

}  // namespace pgleak
