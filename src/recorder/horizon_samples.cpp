// Keeps pgleak.horizon_samples: once a minute, who holds back VACUUM most, for the curve of pgleak.report().
//
// Each statement runs in a transaction of its own, apart from the history's, and no failure here delays an
// event: it is told, and the next attempt waits for a minute. A sample that could not be taken stays a gap.

#include <optional>

#include "pg/clock.hpp"
#include "pg/postgres.hpp"
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
constexpr Micros kPauseWhenLocked = 5 * kSecond;  // or while there is no table
constexpr Micros kPruneInterval = 3600 * kSecond;
constexpr int kPruneBatchSize = 1000;  // rows in one transaction

// One row, also if nobody holds anything.
constexpr char kTakeSample[] =
    "INSERT INTO pgleak.horizon_samples (taken_at, age_transactions, oldest_seconds, kind, holder)"
    " SELECT pg_catalog.clock_timestamp(), h.age_transactions,"
    "   pg_catalog.floor(EXTRACT(epoch FROM h.age))::bigint, h.kind,"
    "   NULLIF(pg_catalog.left(CASE h.kind"
    "     WHEN 'prepared transaction' THEN h.gid"
    "     WHEN 'replication slot' THEN h.slot_name"
    "     WHEN 'standby feedback' THEN h.application_name"
    "     ELSE pg_catalog.concat_ws(', ', 'pid ' || h.pid,"
    "       CASE h.kind WHEN 'session' THEN NULLIF(h.application_name, '') ELSE h.backend_type END,"
    "       h.role || '@' || h.database) END, 200), '')"
    " FROM (VALUES (1)) AS always LEFT JOIN ("
    "   SELECT * FROM pgleak.read_horizon() WHERE is_oldest"
    "   ORDER BY age_transactions DESC, age DESC NULLS LAST LIMIT 1) AS h ON true";

constexpr char kPruneOld[] =
    "DELETE FROM pgleak.horizon_samples WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.horizon_samples"
    " WHERE taken_at < pg_catalog.now() - $1 * interval '1 microsecond' ORDER BY taken_at LIMIT $2))";

constexpr char kPruneSurplus[] =
    "DELETE FROM pgleak.horizon_samples WHERE ctid = ANY (ARRAY(SELECT ctid FROM pgleak.horizon_samples"
    " WHERE taken_at <= (SELECT taken_at FROM pgleak.horizon_samples ORDER BY taken_at DESC OFFSET $1 LIMIT "
    "1)"
    " ORDER BY taken_at LIMIT $2))";

// Runs body() in a transaction with the table locked. Returns the pause until another attempt makes sense, or
// nothing after the commit.
template <typename Body>
std::optional<Micros> with_samples(MemoryContext context, Body body) {
  HistoryAccess access = HistoryAccess::kNoExtension;
  pgstat_report_activity(STATE_RUNNING, "pgleak: sampling the horizon");
  set_interruptible(true);
  ErrorData* error = run_in_transaction(context, kTimeoutMs, [&access, &body] {
    access = open_samples();
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
  if (!worker_should_stop()) report_samples_error(error);
  return kSampleInterval;
}

void take_sample() {
  static SPIPlanPtr plan = nullptr;
  execute(kept_plan(&plan, kTakeSample, 0, nullptr), nullptr, nullptr, SPI_OK_INSERT);
}

// Deletes a batch of what is too old or, if there is none, of what is too much. Returns the number of rows.
std::uint64_t prune_batch() {
  std::uint64_t deleted = 0;
  if (settings.retention > 0) {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {FLOAT8OID, INT8OID};
    const Micros retention = from_seconds(settings.retention);
    Datum values[] = {Float8GetDatum(static_cast<double>(retention.us)), Int64GetDatum(kPruneBatchSize)};
    execute(kept_plan(&plan, kPruneOld, 2, types), values, nullptr, SPI_OK_DELETE);
    deleted = SPI_processed;
  }
  if (deleted == 0 && settings.history_max_rows > 0) {
    static SPIPlanPtr plan = nullptr;
    const Oid types[] = {INT8OID, INT8OID};
    Datum values[] = {Int64GetDatum(settings.history_max_rows), Int64GetDatum(kPruneBatchSize)};
    execute(kept_plan(&plan, kPruneSurplus, 2, types), values, nullptr, SPI_OK_DELETE);
    deleted = SPI_processed;
  }
  return deleted;
}

}  // namespace

void maintain_horizon_samples(MemoryContext context) {
  static MonotonicTime sample_at{};
  static MonotonicTime prune_at{};
  Assert(is_recorder());
  if (RecoveryInProgress()) return;
  const MonotonicTime now = monotonic_now();
  if (now >= sample_at)
    sample_at = now + with_samples(context, [] { take_sample(); }).value_or(kSampleInterval);
  if (now >= prune_at) {
    std::uint64_t deleted = 0;
    const std::optional<Micros> pause = with_samples(context, [&deleted] { deleted = prune_batch(); });
    // A batch that deleted rows may have left more: the next turn goes on.
    prune_at = now + pause.value_or(deleted > 0 ? Micros{0} : kPruneInterval);
  }
}

}  // namespace pgleak
