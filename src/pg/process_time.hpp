// How long a process has run, as the operating system counts it.
#ifndef PGLEAK_PG_PROCESS_TIME_HPP
#define PGLEAK_PG_PROCESS_TIME_HPP

#include <cstdint>
#include <optional>

namespace pgleak {

// Time that process `pid` has spent on a processor, in ns; it grows whenever the process runs at all. Nothing
// where the system does not say. Reads /proc/PID/schedstat, which is Linux only and never blocks on a disk.
// Never ereports.
std::optional<std::int64_t> read_run_time(int pid);

}  // namespace pgleak

#endif
