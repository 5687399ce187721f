// Owns: what the two background workers have in common: registration, signals, sleeping, exit.
// Called by scanner.cpp and recorder.cpp from their own process (register_worker: from _PG_init).
#ifndef PGLEAK_PG_WORKER_HPP
#define PGLEAK_PG_WORKER_HPP

#include <atomic>
#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// Registers a worker that runs the library's function `entry_point` on a primary and on a standby alike, and
// is restarted a second after it dies. `name` is its name and its backend_type. From _PG_init only.
void register_worker(const char* name, const char* entry_point);

// To be called first in a worker: installs signal handlers and publishes the worker in `proc_index` until it
// exits. On SIGTERM `worker_should_stop()` turns true; nothing else happens by itself. May ereport.
void start_worker(std::atomic<std::int32_t>* proc_index);

// True once SIGTERM has come.
bool worker_should_stop();

// While `is_interruptible`, SIGTERM raises an ERROR (query_canceled) at the server's next interrupt check;
// for stretches that may wait long.
void set_interruptible(bool is_interruptible);

// Serves the server's interrupts (barriers, a reload) and sleeps until woken, for `duration` at the
// longest. Returns true if the configuration was read anew. May ereport (interrupts, postmaster death).
bool sleep_worker(Micros duration, std::uint32_t wait_event);

// True once the postmaster has begun to stop the whole server.
bool is_server_stopping();

// Ends the worker. An exit code of 0 would take it off the postmaster's list for good, so a worker that
// somebody merely terminated leaves with 1 and is started again; only when the server stops it says 0.
[[noreturn]] void exit_worker();

// Position of a PGPROC in ProcGlobal->allProcs that stands for no process.
inline constexpr std::int32_t kNoProcess = -1;

// Wakes the worker whose position is in `proc_index`, if it runs. Never ereports.
void wake_worker(const std::atomic<std::int32_t>& proc_index);

}  // namespace pgleak

#endif
