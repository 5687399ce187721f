// What the two background workers have in common: registration, signals, sleeping and exit.
//
// Called by scanner.cpp and recorder.cpp in their own processes, except for register_worker() and
// wake_worker().
#ifndef PGLEAK_PG_WORKER_HPP
#define PGLEAK_PG_WORKER_HPP

#include <atomic>
#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// Registers a worker that runs the library's function `entry_point` on a primary and on a standby alike, and
// that is restarted a second after it exits. `name` is also its backend_type. Call from _PG_init only. Never
// ereports.
void register_worker(const char* name, const char* entry_point);

// Call it first in a worker: installs the signal handlers and publishes the worker in `proc_index` until it
// exits. SIGTERM only makes worker_should_stop() true. May ereport.
void start_worker(std::atomic<std::int32_t>* proc_index);

// True once SIGTERM has arrived.
bool worker_should_stop();

// While `is_interruptible`, SIGTERM raises an ERROR (query_canceled) at the server's next interrupt check;
// for stretches of code that may wait long.
void set_interruptible(bool is_interruptible);

// Processes the server's interrupts (barriers, a reload) and sleeps until woken, for at most `duration`.
// Returns true if the configuration was reloaded. May ereport (interrupts, postmaster death).
bool sleep_worker(Micros duration, std::uint32_t wait_event);

// True once the postmaster has started to shut down the server. May ereport (reads a file).
bool is_server_stopping();

// Ends the worker. Exit code 0 would make the postmaster forget it for good, so a worker that was merely
// terminated exits with 1 and is restarted; it exits with 0 only when the server shuts down.
[[noreturn]] void exit_worker();

// In place of a position in ProcGlobal->allProcs: no process.
inline constexpr std::int32_t kNoProcess = -1;

// Wakes the worker whose position is in `proc_index`, if it is running. Never ereports.
void wake_worker(const std::atomic<std::int32_t>& proc_index);

}  // namespace pgleak

#endif
