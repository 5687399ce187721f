#include "recorder/samples.hpp"

#include <optional>

#include "pg/clock.hpp"
#include "pg/settings.hpp"
#include "pg/transaction.hpp"
#include "pg/worker.hpp"
#include "recorder/history.hpp"
#include "recorder/recorder.hpp"
#include "recorder/spi.hpp"

extern "C" {
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 5000;
constexpr Micros kSampleInterval = 60 * kSecond;
constexpr Micros kPauseWhenLocked = 5 * kSecond;  // or while there is no table, or nothing to sample
constexpr Micros kPruneInterval = 3600 * kSecond;
constexpr int kPruneBatchSize = 1000;  // rows in one transaction

// Of the table named in place of %s.
constexpr char kPruneOld[] =
    "DELETE FROM pgleak.%s WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.%s"
    " WHERE taken_at < pg_catalog.now() - $1 * interval '1 microsecond' ORDER BY taken_at LIMIT $2))";

// Rows that are older than the last one that may stay: a sample stays or goes as a whole.
constexpr char kPruneSurplus[] =
    "DELETE FROM pgleak.%s WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.%s"
    " WHERE taken_at < (SELECT taken_at FROM pgleak.%s ORDER BY taken_at DESC OFFSET $1 - 1 LIMIT 1)"
    " ORDER BY taken_at LIMIT $2))";

// Runs body() in a transaction with the table locked. Returns the pause until another attempt makes sense, or
// nothing after the commit.
template <typename Body>
std::optional<Micros> with_samples(const SampleTable& table, MemoryContext context, Body body) {
  HistoryAccess access = HistoryAccess::kNoExtension;
  pgstat_report_activity(STATE_RUNNING, "pgleak: taking samples");
  set_interruptible(true);
  ErrorData* error = run_in_transaction(context, kTimeoutMs, [&table, &access, &body] {
    access = open_samples(table.name);
    if (access == HistoryAccess::kReady) {
      with_spi([&body] { body(); });
      close_history();
    }
    set_interruptible(false);
  });
  set_interruptible(false);
  pgstat_report_stat(true);
  pgstat_report_activity(STATE_IDLE, nullptr);
  if (error == nullptr && access == HistoryAccess::kReady) return std::nullopt;
  if (error == nullptr || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE) return kPauseWhenLocked;
  if (!worker_should_stop()) report_samples_error(table.name, error);
  return kSampleInterval;
}

// Returns the number of rows. There is nothing to sample before the scanner has counted the first pools.
std::uint64_t take_sample(SampleTable* table) {
  execute(kept_plan(&table->take, table->take_sample, 0, nullptr), nullptr, nullptr, SPI_OK_INSERT);
  return SPI_processed;
}

// Deletes a batch of what is too old or, if there is none, of what is too much. Returns the number of rows.
std::uint64_t prune_batch(SampleTable* table) {
  const char* const name = table->name;
  std::uint64_t deleted = 0;
  if (settings.retention > 0) {
    const Oid types[] = {FLOAT8OID, INT8OID};
    const Micros retention = from_seconds(settings.retention);
    Datum values[] = {Float8GetDatum(static_cast<double>(retention.us)), Int64GetDatum(kPruneBatchSize)};
    execute(kept_plan(&table->prune_old, psprintf(kPruneOld, name, name), 2, types), values, nullptr,
            SPI_OK_DELETE);
    deleted = SPI_processed;
  }
  if (deleted == 0 && settings.history_max_rows > 0) {
    const Oid types[] = {INT8OID, INT8OID};
    Datum values[] = {Int64GetDatum(settings.history_max_rows), Int64GetDatum(kPruneBatchSize)};
    execute(kept_plan(&table->prune_surplus, psprintf(kPruneSurplus, name, name, name), 2, types), values,
            nullptr, SPI_OK_DELETE);
    deleted = SPI_processed;
  }
  return deleted;
}

}  // namespace

void maintain_samples(SampleTable* table, MemoryContext context) {
  Assert(is_recorder());
  if (RecoveryInProgress()) return;
  const MonotonicTime now = monotonic_now();
  if (now >= table->sample_at) {
    std::uint64_t rows = 0;
    const std::optional<Micros> pause =
        with_samples(*table, context, [table, &rows] { rows = take_sample(table); });
    table->sample_at = now + pause.value_or(rows > 0 ? kSampleInterval : kPauseWhenLocked);
  }
  if (now >= table->prune_at) {
    std::uint64_t deleted = 0;
    const std::optional<Micros> pause =
        with_samples(*table, context, [table, &deleted] { deleted = prune_batch(table); });
    // A batch that deleted rows may have left more: the next turn goes on.
    table->prune_at = now + pause.value_or(deleted > 0 ? Micros{0} : kPruneInterval);
  }
}

}  // namespace pgleak
