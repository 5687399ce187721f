#include "server/recorder_log.hpp"

#include "core/version.hpp"
#include "server/clock.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"

namespace pgleak {

namespace {

constexpr Micros kRepeatAfter = 60 * kSecond;

// The message goes into LastError; a longer one is cut at a character.
void keep_error(const char* message, WallTime at) {
  LWLockAcquire(shared->error_lock, LW_EXCLUSIVE);
  strlcpy(shared->last_error.message, message, sizeof(shared->last_error.message));
  shared->last_error.at = at;
  LWLockRelease(shared->error_lock);
}

}  // namespace

void report_history_access(HistoryAccess access) {
  static bool has_reported = false;
  static HistoryAccess reported = HistoryAccess::kReady;
  if (has_reported && access == reported) return;
  has_reported = true;
  reported = access;

  const char* const database = settings.database;
  switch (access) {
    case HistoryAccess::kReady:
      ereport(LOG, (errmsg("pgleak recorder: recording into database \"%s\"", database)));
      break;
    case HistoryAccess::kNoExtension:
      ereport(
          LOG,
          (errcode(ERRCODE_UNDEFINED_OBJECT),
           errmsg(
               "pgleak recorder: extension \"pgleak\" does not exist in database \"%s\", nothing is recorded",
               database),
           errhint("Run CREATE EXTENSION pgleak in that database.")));
      break;
    case HistoryAccess::kOtherVersion:
      ereport(LOG, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("pgleak recorder: extension \"pgleak\" in database \"%s\" is not at version %s, "
                           "nothing is recorded",
                           database, kExtensionVersion),
                    errhint("Run ALTER EXTENSION pgleak UPDATE in that database, or install the library that "
                            "belongs to it.")));
      break;
    case HistoryAccess::kNoTable:
      ereport(
          LOG,
          (errcode(ERRCODE_UNDEFINED_TABLE),
           errmsg("pgleak recorder: the extension's table pgleak.history is gone from database \"%s\", "
                  "nothing is recorded",
                  database),
           errhint(
               "Give the table its name back, or run DROP EXTENSION pgleak and CREATE EXTENSION pgleak.")));
      break;
    case HistoryAccess::kLocked:
      ereport(
          LOG,
          (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
           errmsg("pgleak recorder: pgleak.history is locked by another session, events wait in the queue")));
      break;
  }
}

void report_recorder_error(const ErrorData* error) {
  static char reported[sizeof(LastError::message)] = "";
  static MonotonicTime reported_at = 0;

  const Now now = read_clocks();
  shared->counters.recorder_errors++;
  keep_error(error->message != nullptr ? error->message : "", now.wall);

  const bool is_repeated = strncmp(reported, shared->last_error.message, sizeof(reported)) == 0;
  if (is_repeated && reported_at > 0 && now.monotonic - reported_at < kRepeatAfter) return;
  strlcpy(reported, shared->last_error.message, sizeof(reported));
  reported_at = now.monotonic;
  ereport(WARNING, (errcode(error->sqlerrcode),
                    errmsg("pgleak recorder: could not write history: %s", shared->last_error.message),
                    error->detail != nullptr ? errdetail_internal("%s", error->detail) : 0,
                    error->context != nullptr ? errcontext("%s", error->context) : 0,
                    errhint("Events wait in the queue and are tried again.")));
}

}  // namespace pgleak
