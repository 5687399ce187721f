#include "core/version.hpp"
#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "recorder/recorder.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

namespace {

constexpr Micros kRepeatAfter = 60 * kSecond;

// Stores the message in LastError, truncated at a character boundary.
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
                    errmsg("pgleak recorder: extension \"pgleak\" in database \"%s\" is not version %s, "
                           "nothing is recorded",
                           database, kExtensionVersion),
                    errhint("Run ALTER EXTENSION pgleak UPDATE in that database, or install the matching "
                            "library.")));
      break;
    case HistoryAccess::kNoTable:
      ereport(
          LOG,
          (errcode(ERRCODE_UNDEFINED_TABLE),
           errmsg("pgleak recorder: the extension's table pgleak.history is missing from database \"%s\", "
                  "nothing is recorded",
                  database),
           errhint("Restore the table's name, or drop and re-create the extension.")));
      break;
    case HistoryAccess::kLocked:
      ereport(
          LOG,
          (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
           errmsg(
               "pgleak recorder: pgleak.history is locked by another session, keeping events in the queue")));
      break;
  }
}

namespace {

// The last logged error of one kind.
struct Logged {
  char message[sizeof(LastError::message)];
  MonotonicTime at;  // none: nothing logged yet
};

// Counts and keeps an error. Returns false if the same error was logged recently.
bool note_error(const char* message, Logged* logged) {
  Assert(is_recorder());
  const Now now = read_clocks();
  shared->counters.recorder_errors++;
  keep_error(message, now.wall);

  const char* const kept = shared->last_error.message;
  const bool is_repeated = strncmp(logged->message, kept, sizeof(logged->message)) == 0;
  if (is_repeated && logged->at.is_set() && now.monotonic - logged->at < kRepeatAfter) return false;
  strlcpy(logged->message, kept, sizeof(logged->message));
  logged->at = now.monotonic;
  return true;
}

void log_error(const ErrorData* error, const char* what, const char* consequence) {
  ereport(WARNING,
          (errcode(error->sqlerrcode),
           errmsg("pgleak recorder: could not %s: %s", what, shared->last_error.message),
           error->detail != nullptr ? errdetail_internal("%s", error->detail) : 0,
           error->context != nullptr ? errcontext("%s", error->context) : 0, errhint("%s", consequence)));
}

}  // namespace

void report_recorder_error(const ErrorData* error) {
  static Logged logged{};
  if (note_error(error->message != nullptr ? error->message : "", &logged))
    log_error(error, "write history", "Events stay in the queue until the recorder can write them.");
}

void report_rules_error(const ErrorData* error) {
  static Logged logged{};
  if (note_error(error->message != nullptr ? error->message : "", &logged))
    log_error(error, "read pgleak.rules", "The previous rules stay in force until the table can be read.");
}

void report_samples_error(const char* table, const ErrorData* error) {
  static Logged logged{};
  if (!note_error(error->message != nullptr ? error->message : "", &logged)) return;
  char what[16 + NAMEDATALEN];
  snprintf(what, sizeof(what), "write pgleak.%s", table);
  log_error(error, what, "Events are recorded all the same. The curve of pgleak.report() has a gap.");
}

void report_rules(int count) {
  ereport(LOG, (errmsg_plural("pgleak recorder: %d rule of pgleak.rules is in force",
                              "pgleak recorder: %d rules of pgleak.rules are in force",
                              static_cast<unsigned long>(count), count)));
}

void report_roles_left_out(std::int64_t count) {
  static std::int64_t reported = 0;
  if (count == reported) return;
  reported = count;
  if (count == 0) return;
  char message[sizeof(LastError::message)];
  snprintf(message, sizeof(message),
           "pgleak.rules applies to only %d members of the roles it names, omitting " INT64_FORMAT, kMaxRoles,
           count);
  static Logged logged{};
  if (!note_error(message, &logged)) return;
  ereport(WARNING, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("pgleak recorder: %s", message),
                    errhint("Use roles with fewer members in pgleak.rules.")));
}

}  // namespace pgleak
