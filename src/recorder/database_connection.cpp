#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "recorder/recorder.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/pg_database.h"  // declares get_database_oid from 19 on
#include "commands/dbcommands.h"
#include "postmaster/bgworker.h"
}

namespace pgleak {

namespace {

constexpr Micros kPollInterval = 2 * kSecond;
constexpr Micros kShortestPause = 2 * kSecond;
constexpr Micros kLongestPause = 60 * kSecond;

bool database_exists() {
  StartTransactionCommand();
  const bool exists = OidIsValid(get_database_oid(settings.database, true));
  CommitTransactionCommand();
  return exists;
}

// Doubles with each failure, so a database that exists but accepts no connections is not tried every two
// seconds.
Micros pause_after(std::int32_t failures) {
  Micros pause = kShortestPause;
  for (std::int32_t i = 1; i < failures && pause < kLongestPause; i++) pause *= 2;
  return Min(pause, kLongestPause);
}

// A process can connect only once, and a failed attempt ends it with a FATAL in the log. So this process
// connects to no database, waits there until the database exists, and leaves connecting to its successor.
[[noreturn]] void wait_for_database(std::int32_t failures) {
  BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
  if (failures == 1)
    ereport(
        LOG,
        (errcode(ERRCODE_UNDEFINED_DATABASE),
         errmsg("pgleak recorder: could not connect to database \"%s\", nothing is recorded",
                settings.database),
         errdetail("Leaks are still detected, logged, and shown in the live views."),
         errhint(
             "Create the database, or set \"pgleak.database\" to an existing one and restart the server.")));

  const std::uint32_t wait_event = compat::new_wait_event("PgleakRecorder");
  const MonotonicTime earliest = monotonic_now() + pause_after(failures);
  bool exists = database_exists();
  // If the database exists but accepts no connections, its rules are unknown, so none are published.
  if (!exists) publish_no_rules();
  while (!worker_should_stop() && (monotonic_now() < earliest || !exists)) {
    sleep_worker(kPollInterval, wait_event);
    exists = database_exists();
  }
  if (!worker_should_stop()) shared->may_connect.store(true);
  exit_worker();
}

}  // namespace

void connect_to_history_database() {
  shared->is_recording.store(false);
  const std::int32_t failures = shared->failed_connects.load();
  if (failures > 0 && !shared->may_connect.exchange(false)) wait_for_database(failures);
  shared->failed_connects.store(failures + 1);
  BackgroundWorkerInitializeConnection(settings.database, nullptr, 0);
  shared->failed_connects.store(0);
}

}  // namespace pgleak
