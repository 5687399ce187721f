// The recorder: a background worker that writes the scanner's events into pgleak.history, completes what an
// earlier run of the server left open, prunes the history, and keeps the compiled rules current.
//
// The postmaster starts it; it connects to pgleak.database. It never waits for a lock on its tables, never
// holds a snapshot while it waits, and removes no event from the queue before the commit that wrote it.
// recorder/README.md describes its turns.

#include "recorder/recorder.hpp"

#include <cstdint>

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "pg/worker.hpp"
#include "pgleak.hpp"
#include "recorder/history.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xlog.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PGDLLEXPORT void pgleak_recorder_main(Datum argument);
}

namespace pgleak {

namespace {

constexpr std::uint64_t kBatchSize = 256;  // events in one transaction
constexpr int kPruneBatchSize = 1000;      // rows in one transaction
constexpr Micros kIdleInterval = kSecond;  // delay until a promotion or a CREATE EXTENSION is noticed
constexpr Micros kLongestBackoff = 5 * kSecond;
constexpr Micros kPruneInterval = 10 * kSecond;
constexpr Micros kRecountInterval = 3600 * kSecond;
constexpr Micros kSilence = 10 * kSecond;  // pause in notifications when their queue was full
constexpr int kTimeoutMs = 30000;          // for one transaction
constexpr int kShutdownTimeoutMs = 500;    // for the last one, while the server waits for it to stop

struct Recorder {
  MemoryContext context;     // reset every turn
  HistoryAccess access;      // as of the last attempt
  bool has_started;          // the rows of earlier runs are completed
  std::uint64_t rows;        // in the history, kept current by adding and subtracting
  MonotonicTime recount_at;  // when to count them again
  MonotonicTime prune_at;
  Micros backoff;          // 0 after success
  MonotonicTime retry_at;  // after an error: no attempt before that, however many events arrive
  MonotonicTime silent_until;
  std::uint64_t tried;  // number of oldest events that may already have been written
  bool is_stopping;     // the server is shutting down: SIGTERM has arrived, timeouts bound what is left
};

Recorder recorder;

// Settings of a database or of all roles apply to background workers too; these would break the recorder.
void fix_settings() {
  static const char* const kFixed[][2] = {
      {"default_transaction_read_only", "off"},
      {"default_transaction_isolation", "read committed"},
      {"default_transaction_deferrable", "off"},
      {"statement_timeout", "0"},
      // Another session may hold a lock on one of our rows. As with a table lock, waiting for it with a
      // snapshot would hold back VACUUM.
      {"lock_timeout", "50ms"},
      {"idle_in_transaction_session_timeout", "0"},
      {"transaction_timeout", "0"},
      {"search_path", "pg_catalog, pg_temp"},
      {"row_security", "off"},
      // A standby that does not respond must not block the recorder's commit.
      {"synchronous_commit", "local"},
  };
  for (const auto& setting : kFixed)
    if (GetConfigOption(setting[0], true, false) != nullptr)
      SetConfigOption(setting[0], setting[1], PGC_SUSET, PGC_S_OVERRIDE);
}

// Runs body() in a transaction with the history locked, and after_commit() directly after the commit, before
// anything that could end the process. Returns true if the transaction was committed. An error, or a history
// that cannot be written, is logged once.
template <typename Body, typename AfterCommit>
bool with_history(int timeout_ms, Body body, AfterCommit after_commit) {
  Assert(is_recorder() && !RecoveryInProgress());
  HistoryAccess access = HistoryAccess::kNoExtension;
  pgstat_report_activity(STATE_RUNNING, "pgleak: writing history");
  set_interruptible(!recorder.is_stopping);
  ErrorData* error = run_in_transaction(recorder.context, timeout_ms, [&access, &body] {
    access = open_history();
    if (access == HistoryAccess::kReady) {
      body();
      close_history();
    }
    set_interruptible(false);
  });
  set_interruptible(false);
  const bool is_done = error == nullptr && access == HistoryAccess::kReady;
  if (is_done) after_commit();
  pgstat_report_stat(true);
  pgstat_report_activity(STATE_IDLE, nullptr);

  if (error != nullptr && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE) {
    access = HistoryAccess::kLocked;
    error = nullptr;
  }
  const bool is_given_up =
      error != nullptr && worker_should_stop() && error->sqlerrcode == ERRCODE_QUERY_CANCELED;
  if (error == nullptr)
    report_history_access(access);
  else if (!is_given_up)
    report_recorder_error(error);
  recorder.access = access;
  recorder.backoff =
      error == nullptr ? Micros{0} : Min(Max(2 * recorder.backoff, kIdleInterval), kLongestBackoff);
  recorder.retry_at = monotonic_now() + recorder.backoff;
  // Any role can fill the notification queue, and keep it full with LISTEN in an open transaction. That must
  // not stop events from being recorded.
  if (error != nullptr && error->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED)
    recorder.silent_until = monotonic_now() + kSilence;
  shared->is_recording.store(is_done, std::memory_order_relaxed);
  return is_done;
}

void raise_leak_id(std::int64_t least) {
  std::int64_t last = shared->last_leak_id.load();
  while (last < least && !shared->last_leak_id.compare_exchange_weak(last, least)) {
  }
}

// Runs once per start of the server, before its first event is written: every row that is open now belongs to
// a session that no longer exists. It also keeps leak ids from repeating if the clock was set back.
void start_history() {
  const bool is_first = !shared->stale_rows_completed.load(std::memory_order_relaxed);
  with_history(
      kTimeoutMs,
      [is_first] {
        if (is_first) {
          complete_open_rows(shared->started_at);
          complete_prepared_rows(shared->started_at, std::nullopt);
          raise_leak_id(largest_leak_id());
        }
        remember_open_prepared();
        recorder.rows = count_history();
      },
      [] {
        shared->stale_rows_completed.store(true, std::memory_order_relaxed);
        recorder.has_started = true;
        recorder.recount_at = monotonic_now() + kRecountInterval;
      });
}

// Writes one batch. Returns false if nothing was written.
bool write_batch(int timeout_ms) {
  const std::uint64_t waiting = event_queue->waiting();
  const std::uint64_t count = waiting < kBatchSize ? waiting : kBatchSize;
  if (count == 0) return false;
  const bool notifies = settings.notify && monotonic_now() >= recorder.silent_until;
  // In rare cases an error comes after the commit, or the recorder ends there, so an attempt may have
  // succeeded.
  const bool are_new = recorder.tried == 0;
  recorder.tried = Max(recorder.tried, count);
  std::uint64_t opened = 0;  // each creates a row
  for (std::uint64_t i = 0; i < count; i++) opened += event_queue->peek(i)->kind == EventKind::kOpened;
  return with_history(
      timeout_ms, [count, are_new, notifies] { write_events(count, are_new, notifies); },
      [count, opened] {
        recorder.tried -= count;
        recorder.rows += opened;
        event_queue->finish_oldest(count);
      });
}

void prune() {
  const MonotonicTime now = monotonic_now();
  if (now < recorder.prune_at) return;

  const std::uint64_t cap = static_cast<std::uint64_t>(settings.history_max_rows);
  const std::uint64_t surplus = cap > 0 && recorder.rows > cap ? recorder.rows - cap : 0;
  const Micros retention = from_seconds(settings.retention);
  const bool recounts = now >= recorder.recount_at;
  std::uint64_t deleted = 0;
  std::uint64_t rows = recorder.rows;
  with_history(
      kTimeoutMs,
      [&deleted, &rows, surplus, retention, recounts] {
        deleted = prune_history(retention, surplus, kPruneBatchSize);
        rows = recounts ? count_history() : rows - Min(deleted, rows);
      },
      [&deleted, &rows, now, recounts] {
        recorder.rows = rows;
        if (recounts) recorder.recount_at = now + kRecountInterval;
        // A batch that deleted rows may have left more.
        if (deleted == 0) recorder.prune_at = now + kPruneInterval;
      });
}

// A prepared transaction may end before the scanner has taken up its episode again, or without becoming a
// leak again, because its limit was raised. Then no event will complete its row.
void complete_left_row() {
  const std::optional<std::int64_t> leak_id = find_left_prepared();
  // The end of an episode that the scanner has followed is in the queue, until it is in the row.
  if (!leak_id || event_queue->waiting() > 0) return;
  with_history(
      kTimeoutMs, [leak_id] { complete_prepared_rows(wall_now(), leak_id); },
      [leak_id] { forget_left_prepared(*leak_id); });
}

// Writes and prunes what is due. Returns the time until that is needed again.
Micros keep_history() {
  if (RecoveryInProgress()) {
    shared->is_recording.store(false, std::memory_order_relaxed);
    return kIdleInterval;
  }
  const Micros pause = recorder.retry_at - monotonic_now();
  if (recorder.backoff > Micros{0} && pause > Micros{0}) return pause;
  if (!recorder.has_started || recorder.access != HistoryAccess::kReady) start_history();
  if (recorder.has_started && recorder.access == HistoryAccess::kReady) {
    write_batch(kTimeoutMs);
    if (recorder.backoff == Micros{0}) complete_left_row();
    if (recorder.backoff == Micros{0}) prune();
  }
  if (recorder.backoff > Micros{0}) return recorder.backoff;
  if (recorder.access != HistoryAccess::kReady) return kIdleInterval;
  return event_queue->waiting() > 0 || recorder.prune_at <= monotonic_now() ? Micros{0} : kIdleInterval;
}

// False while the history is there and could not be read yet.
bool has_read_history() {
  return recorder.has_started || recorder.access == HistoryAccess::kNoExtension ||
         recorder.access == HistoryAccess::kNoTable || recorder.access == HistoryAccess::kOtherVersion;
}

// Runs one turn of the recorder. Returns how long it may sleep.
Micros take_turn() {
  MemoryContextReset(recorder.context);
  maintain_pools(recorder.context);
  maintain_horizon_samples(recorder.context);
  maintain_pool_samples(recorder.context);
  maintain_queue_usage(recorder.context);
  const Micros until_rules = keep_rules_current(recorder.context);
  const Micros until_history = keep_history();
  maintain_prepared(recorder.context, has_read_history());
  return Min(until_rules, until_history);
}

// The server is shutting down in an orderly way: write the remaining events and complete the open rows.
void record_shutdown() {
  if (RecoveryInProgress() || !recorder.has_started) return;
  recorder.is_stopping = true;
  while (write_batch(kShutdownTimeoutMs)) {
  }
  if (event_queue->waiting() > 0) return;
  with_history(
      kShutdownTimeoutMs,
      [] {
        complete_open_rows(wall_now());
        complete_prepared_rows(wall_now(), std::nullopt);
      },
      [] {});
}

void run_recorder() {
  const std::uint32_t wait_event = compat::new_wait_event("PgleakRecorder");
  recorder.context = AllocSetContextCreate(TopMemoryContext, "pgleak recorder", ALLOCSET_DEFAULT_SIZES);
  recorder.tried = event_queue->waiting();
  pgstat_report_activity(STATE_IDLE, nullptr);

  while (!worker_should_stop()) sleep_worker(take_turn(), wait_event);
  if (is_server_stopping()) record_shutdown();
}

}  // namespace

void install_recorder() { register_worker("pgleak recorder", "pgleak_recorder_main"); }

void recorder_main() {
  start_worker(&shared->recorder_proc);
  connect_to_history_database();
  fix_settings();
  prepare_rules();
  run_recorder();
  exit_worker();
}

}  // namespace pgleak

void pgleak_recorder_main(Datum) { pgleak::recorder_main(); }
