#include <cstdint>

#include "core/prepared.hpp"
#include "pg/clock.hpp"
#include "pg/encoding.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_proc.hpp"
#include "pg/transaction.hpp"
#include "pg/worker.hpp"
#include "recorder/history.hpp"
#include "recorder/recorder.hpp"
#include "recorder/spi.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"  // declares get_database_name from 19 on
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 30000;
constexpr Micros kPauseAfterError = 5 * kSecond;

// The function behind pg_prepared_xacts, which would join it with catalogs.
constexpr char kReadList[] =
    "SELECT transaction, gid, prepared, ownerid, dbid FROM pg_catalog.pg_prepared_xact()";

constexpr char kReadFate[] = "SELECT pg_catalog.pg_xact_status($1::text::xid8)";

// By place: the transaction that was there at the last check. One that is gone again by the next check is
// never listed, so a busy transaction manager costs nothing.
TransactionId* seen_last = nullptr;

// Open episodes of earlier runs.
OpenPrepared* known = nullptr;
int known_count = 0;

// --- the list ---

bool is_listed(int place, TransactionId xid) { return prepared_slot(place).listed.current().xid == xid; }

bool is_anything_new() {
  bool is_new = false;
  for (int i = 0; i < prepared_place_count(); i++) {
    const TransactionId xid = prepared_xid(i);
    if (xid != InvalidTransactionId && xid == seen_last[i] && !is_listed(i, xid)) is_new = true;
    seen_last[i] = xid;
  }
  return is_new;
}

KnownEpisode known_episode(TransactionId xid, WallTime prepared_at) {
  for (int i = 0; i < known_count; i++)
    if (known[i].xid == xid && (known[i].prepared_at == prepared_at || !known[i].prepared_at.is_set()))
      return known[i].episode;
  return KnownEpisode{};
}

// A name that the catalog has lost is its number.
void copy_name(const char* name, Oid number, char (&to)[kNameSize]) {
  if (name != nullptr)
    strlcpy(to, name, kNameSize);
  else
    snprintf(to, kNameSize, "%u", number);
}

void publish(int place, const PreparedTransaction& listed) {
  prepared_slot(place).listed.write([&listed](PreparedTransaction* value) { *value = listed; });
}

// The columns of kReadList.
void publish_row(HeapTuple row, TupleDesc description) {
  const auto value = [row, description](int column) {
    bool is_null = false;
    return SPI_getbinval(row, description, column, &is_null);
  };
  PreparedTransaction listed{};
  listed.xid = DatumGetTransactionId(value(1));
  copy_gid(listed.gid, TextDatumGetCString(value(2)));
  listed.prepared_at = from_timestamp(DatumGetTimestampTz(value(3)));
  listed.role_oid = DatumGetObjectId(value(4));
  const Oid database = DatumGetObjectId(value(5));
  copy_name(get_database_name(database), database, listed.database);
  copy_name(GetUserNameFromId(listed.role_oid, true), listed.role_oid, listed.role);
  listed.encoding = encoding_of_database(database);
  listed.known = known_episode(listed.xid, listed.prepared_at);
  for (int i = 0; i < prepared_place_count(); i++)
    if (seen_last[i] == listed.xid && prepared_xid(i) == listed.xid) publish(i, listed);
}

void publish_list() {
  with_spi([] {
    static SPIPlanPtr plan = nullptr;
    execute(kept_plan(&plan, kReadList, 0, nullptr), nullptr, nullptr, SPI_OK_SELECT);
    for (std::uint64_t i = 0; i < SPI_processed; i++)
      publish_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
  });
}

// --- how they ended ---

bool is_anyone_asked() {
  for (int i = 0; i < prepared_place_count(); i++)
    if (prepared_slot(i).asked() != 0) return true;
  return false;
}

// The whole id of a transaction, from its last 32 bits: it is older than the next one.
std::uint64_t full_id(TransactionId xid) {
  const std::uint64_t next = U64FromFullTransactionId(ReadNextFullTransactionId());
  return next - static_cast<std::uint32_t>(static_cast<std::uint32_t>(next) - xid);
}

// Asks the commit log. kNone: still in progress.
PreparedFate read_fate(TransactionId xid) {
  static SPIPlanPtr plan = nullptr;
  const Oid types[] = {INT8OID};
  Datum values[] = {Int64GetDatum(static_cast<std::int64_t>(full_id(xid)))};
  bool is_null = true;
  execute(kept_plan(&plan, kReadFate, 1, types), values, nullptr, SPI_OK_SELECT);
  const Datum status = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  if (is_null) return PreparedFate::kUnknown;
  const char* const name = TextDatumGetCString(status);
  if (strcmp(name, "committed") == 0) return PreparedFate::kCommitted;
  return strcmp(name, "aborted") == 0 ? PreparedFate::kRolledBack : PreparedFate::kNone;
}

void answer_fates() {
  with_spi([] {
    for (int i = 0; i < prepared_place_count(); i++) {
      PreparedSlot& slot = prepared_slot(i);
      const TransactionId xid = slot.asked();
      if (xid == InvalidTransactionId) continue;
      const PreparedFate fate = read_fate(xid);
      if (fate != PreparedFate::kNone) slot.answer(xid, fate);
    }
  });
}

// Until the history was read, or cannot be, an episode of an earlier run would not be recognized. Not
// forever: the row is the same even if its episode opens as a new one; see prepared_leak_id().
bool may_list(bool is_history_read, MonotonicTime now) {
  static MonotonicTime first_asked{};
  if (!first_asked.is_set()) first_asked = now;
  return is_history_read || now - first_asked > kRecorderTimeout / 2;
}

void prepare_places() {
  if (seen_last != nullptr) return;
  seen_last = static_cast<TransactionId*>(MemoryContextAllocZero(
      TopMemoryContext, static_cast<Size>(prepared_place_count()) * sizeof(TransactionId)));
}

bool is_there(TransactionId xid) {
  for (int i = 0; i < prepared_place_count(); i++)
    if (prepared_xid(i) == xid) return true;
  return false;
}

// True if the scanner will queue the end of the episode, or may just be changing its record.
bool is_followed(std::int64_t leak_id) {
  for (int i = 0; i < prepared_place_count(); i++) {
    PreparedRecord record;
    if (!prepared_slot(i).scanner.read(&record)) return true;
    const bool is_open = record.is_open || record.pending_end.outcome != Outcome::kNone;
    if (is_open && record.episode.leak_id == leak_id) return true;
  }
  return false;
}

}  // namespace

std::optional<std::int64_t> find_left_prepared() {
  static MonotonicTime due_at{};
  const MonotonicTime now = monotonic_now();
  Assert(is_recorder());
  if (known_count == 0 || now < due_at) return std::nullopt;
  due_at = now + kSecond;
  // In this order: an episode does not begin once its transaction is gone.
  for (int i = 0; i < known_count; i++)
    if (!is_there(known[i].xid) && !is_followed(known[i].episode.leak_id)) return known[i].episode.leak_id;
  return std::nullopt;
}

void forget_left_prepared(std::int64_t leak_id) {
  for (int i = 0; i < known_count; i++)
    if (known[i].episode.leak_id == leak_id) known[i--] = known[--known_count];
}

void remember_open_prepared() {
  if (prepared_place_count() == 0) return;
  if (known == nullptr)
    known = static_cast<OpenPrepared*>(MemoryContextAlloc(
        TopMemoryContext, static_cast<Size>(prepared_place_count()) * sizeof(OpenPrepared)));
  known_count = read_open_prepared(known, prepared_place_count());
}

void maintain_prepared(MemoryContext context, bool is_history_read) {
  static MonotonicTime due_at{};
  static MonotonicTime retry_at{};
  const MonotonicTime now = monotonic_now();
  Assert(is_recorder());
  if (prepared_place_count() == 0 || RecoveryInProgress() || now < retry_at) return;
  prepare_places();
  bool lists = false;
  if (now >= due_at && may_list(is_history_read, now)) {
    due_at = now + kSecond;
    lists = is_anything_new();
  }
  const bool answers = is_anyone_asked();
  if (!lists && !answers) return;

  set_interruptible(true);
  ErrorData* error = run_in_transaction(context, kTimeoutMs, [lists, answers] {
    if (lists) publish_list();
    if (answers) answer_fates();
    set_interruptible(false);
  });
  set_interruptible(false);
  pgstat_report_stat(true);
  if (error == nullptr) {
    wake_worker(shared->scanner_proc);
    return;
  }
  retry_at = now + kPauseAfterError;
  if (!worker_should_stop()) report_recorder_error(error);
}

}  // namespace pgleak
