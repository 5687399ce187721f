// The C function behind the view pgleak.horizon: everything that holds back VACUUM or keeps WAL, read live.
//
// Any session may call it. It allocates its memory per call and holds the server's locks one after the other,
// shared: that of replication slots, ProcArrayLock for one pass, that of prepared transactions. It masks what
// it shows of other users' sessions as pg_stat_activity does; slots and prepared transactions are for
// everybody to see, as in the server's own views.

#include <cstdint>
#include <optional>

#include "core/horizon.hpp"
#include "core/session.hpp"
#include "core/xid_clock.hpp"
#include "functions/functions.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/horizon_holder.hpp"
#include "pg/postgres.hpp"
#include "pg/prepared_xact.hpp"
#include "pg/proc_array.hpp"
#include "pg/replication_slot.hpp"
#include "pg/row.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"  // declares get_database_name from 19 on

PG_FUNCTION_INFO_V1(pgleak_read_horizon);
}

namespace pgleak {

namespace {

template <typename Element>
Element* allocate_array(int count) {
  return static_cast<Element*>(palloc0(static_cast<Size>(Max(count, 1)) * sizeof(Element)));
}

// A process as the status array shows it.
struct Process {
  StatusEntry entry;
  LoginNames login;
  const char* application_name;
  bool is_visible;  // to the current user
};

// What is known of a holder besides what it holds. Of the pointers those are set that its kind has.
struct Holder {
  const Process* process;  // that of a slot is the one that uses it
  const PreparedXact* prepared;
  const SlotStatus* slot;
};

// What one call has read.
struct Reading {
  HorizonScope scope;
  HorizonHolder* horizon;
  Holder* holders;  // by HorizonHolder::number
  int count;
  Now now;
  XidSample next;   // the next transaction id
  XidClock* clock;  // nullptr: it could not be read
  std::uint64_t end_of_wal;
};

// Reads the process whose PGPROC is at `proc_index`; nullptr if it has gone. Allocated in the current
// context.
const Process* read_process(int proc_index, int pid) {
  Process process{};
  SessionIdentity who{};
  const std::optional<int> index = proc_index < 0 ? std::nullopt : find_status(proc_index, pid);
  if (!index || read_status(*index, &process.entry) != StatusRead::kDone || process.entry.id.pid != pid)
    return nullptr;
  if (!read_status_strings(*index, process.entry.id, &who, nullptr, 0, nullptr)) return nullptr;
  process.application_name = pstrdup(who.application_name);
  process.login = login_names(*index, process.entry);
  process.is_visible = may_see_details(process.entry.role_oid);
  return static_cast<const Process*>(memcpy(palloc(sizeof(process)), &process, sizeof(process)));
}

void add_holder(Reading* reading, HorizonHolder horizon, const Holder& holder) {
  horizon.number = reading->count;
  reading->horizon[reading->count] = horizon;
  reading->holders[reading->count++] = holder;
}

HorizonKind kind_of(const StatusEntry& entry) {
  const BackendType type = static_cast<BackendType>(entry.backend_type);
  return type == B_BACKEND || type == B_WAL_SENDER ? HorizonKind::kSession : HorizonKind::kBackgroundWorker;
}

void add_process(Reading* reading, const XidHolder& held) {
  const Process* const process = read_process(held.proc_index, held.pid);
  if (process == nullptr) return;
  add_holder(reading, horizon_holder(held, kind_of(process->entry)), Holder{process, nullptr, nullptr});
}

void add_prepared(Reading* reading, const PreparedXact& prepared) {
  add_holder(reading, horizon_holder_of_prepared(prepared.database_oid, prepared.xid),
             Holder{nullptr, &prepared, nullptr});
}

void add_slot(Reading* reading, const SlotStatus& slot, const Process* user) {
  add_holder(reading, horizon_holder(slot), Holder{user, nullptr, &slot});
}

const Process* user_of(const SlotStatus& slot, const ProcessPlace* places, int count) {
  for (int i = 0; i < count; i++)
    if (slot.pid != 0 && places[i].pid == slot.pid) return read_process(places[i].proc_index, slot.pid);
  return nullptr;
}

// Ids are read after all that hold them, so none is newer than the next one.
void read_holders(Reading* reading, ExprContext* context) {
  SlotStatus* const slots = allocate_array<SlotStatus>(slot_capacity());
  const int slot_count = read_replication_slots(slots);
  ProcessPlace* const places = allocate_array<ProcessPlace>(slot_count);
  int place_count = 0;
  for (int i = 0; i < slot_count; i++)
    if (slots[i].pid != 0) places[place_count++] = ProcessPlace{slots[i].pid, -1};
  XidHolder* const processes = allocate_array<XidHolder>(compat::proc_count());
  const int process_count = read_xid_holders(processes, places, place_count);
  PreparedXact* prepared = nullptr;
  const int prepared_count = read_prepared_xacts(context, &prepared);

  const int most = slot_count + process_count + prepared_count;
  reading->horizon = allocate_array<HorizonHolder>(most);
  reading->holders = allocate_array<Holder>(most);
  for (int i = 0; i < process_count; i++) add_process(reading, processes[i]);
  for (int i = 0; i < prepared_count; i++) add_prepared(reading, prepared[i]);
  for (int i = 0; i < slot_count; i++) add_slot(reading, slots[i], user_of(slots[i], places, place_count));
  reading->next.next_xid = compat::next_full_transaction_id();
}

Reading read_horizon(ExprContext* context) {
  Reading reading{};
  reading.scope = HorizonScope{RecoveryInProgress(), sends_feedback()};
  reading.clock = static_cast<XidClock*>(palloc(sizeof(XidClock)));
  if (!shared->xid_clock.read(reading.clock)) reading.clock = nullptr;
  read_holders(&reading, context);
  reading.end_of_wal = end_of_wal();
  reading.now = read_clocks();
  reading.next.at = reading.now.monotonic;
  find_oldest(reading.horizon, reading.count, static_cast<TransactionId>(reading.next.next_xid),
              reading.scope);
  return reading;
}

void add_foreign_or_null(Row* row, const char* text, int encoding) {
  text == nullptr ? row->add_null() : row->add_foreign_text(text, encoding);
}

bool is_masked(const Holder& holder) { return holder.process != nullptr && !holder.process->is_visible; }

// What is "state" and the like of a session is nothing of a slot.
const Process* session_of(const Holder& holder) {
  return holder.slot == nullptr && !is_masked(holder) ? holder.process : nullptr;
}

void add_who(Row* row, const HorizonHolder& horizon, const Holder& holder) {
  const Process* const process = holder.process;
  const int encoding = process != nullptr ? process->login.encoding : GetDatabaseEncoding();
  const int pid = holder.slot != nullptr ? holder.slot->pid : process != nullptr ? process->entry.id.pid : 0;
  row->add_text(to_string(horizon.kind));
  if (holder.prepared != nullptr)
    add_foreign_or_null(row, get_database_name(holder.prepared->database_oid), encoding);
  else if (process == nullptr || holder.slot != nullptr || horizon.kind == HorizonKind::kStandbyFeedback)
    row->add_null();
  else
    add_foreign_or_null(row, process->login.database, encoding);
  pid == 0 ? row->add_null() : row->add_int32(pid);
  add_foreign_or_null(row, holder.prepared != nullptr ? holder.prepared->gid : nullptr, encoding);
  row->add_text(holder.slot != nullptr ? holder.slot->name : nullptr);
  add_foreign_or_null(row, process != nullptr ? process->application_name : nullptr, encoding);
  if (holder.prepared != nullptr)
    add_foreign_or_null(row, GetUserNameFromId(holder.prepared->owner_oid, true), encoding);
  else
    add_foreign_or_null(row, process != nullptr ? process->login.role : nullptr, encoding);
  const Process* const session = session_of(holder);
  row->add_text(session != nullptr ? backend_type_name(session->entry) : nullptr);
  row->add_text(session != nullptr ? to_string(session->entry.state) : nullptr);
}

void add_held(Row* row, const Reading& reading, const HorizonHolder& horizon, const Holder& holder) {
  char held[kHeldSize];
  describe_held(horizon, reading.scope, held);
  row->add_xid(horizon.xid);
  row->add_xid(horizon.xmin);
  row->add_xid(horizon.catalog_xmin);
  row->add_lsn(holder.slot != nullptr ? holder.slot->restart_lsn : 0);
  row->add_text(held);
  horizon.age < 0 ? row->add_null() : row->add_int64(horizon.age);
}

// Since when a holder holds what it holds: the start of its transaction or, without one, at least since when
// the oldest id that it holds was assigned.
WallTime held_since(const Reading& reading, const HorizonHolder& horizon, const Holder& holder) {
  if (holder.prepared != nullptr) return holder.prepared->prepared_at;
  const Process* const session = session_of(holder);
  const bool has_transaction =
      horizon.kind == HorizonKind::kSession || horizon.kind == HorizonKind::kBackgroundWorker;
  if (has_transaction && session == nullptr) return WallTime::none();
  if (has_transaction && session->entry.xact_start.is_set()) return session->entry.xact_start;
  if (reading.clock == nullptr || horizon.age < 0) return WallTime::none();
  const std::uint64_t oldest = reading.next.next_xid - static_cast<std::uint64_t>(horizon.age);
  const std::optional<Micros> age = reading.clock->age_of(oldest, reading.next);
  return age ? reading.now.wall - *age : WallTime::none();
}

void add_slot_columns(Row* row, const Reading& reading, const SlotStatus* slot) {
  if (slot == nullptr) return row->add_nulls(3);
  if (slot->restart_lsn == 0)
    row->add_null();
  else
    row->add_int64(static_cast<std::int64_t>(Max(reading.end_of_wal, slot->restart_lsn) - slot->restart_lsn));
  row->add_bool(slot->pid != 0);
  row->add_text(wal_status_of(*slot));
}

void add_remedy(Row* row, const HorizonHolder& horizon, const Holder& holder) {
  const bool is_slot = holder.slot != nullptr;
  if (!is_slot && horizon.kind != HorizonKind::kStandbyFeedback && is_masked(holder)) return row->add_null();
  HolderIdentity who{};
  who.kind = horizon.kind;
  who.name = is_slot ? holder.slot->name : "";
  who.client = "";
  int encoding = GetDatabaseEncoding();
  if (holder.process != nullptr) {
    const StatusEntry& entry = holder.process->entry;
    encoding = holder.process->login.encoding;
    who.pid = entry.id.pid;
    who.client = holder.process->application_name;
    who.is_client_backend = entry.is_client_backend;
    who.is_autovacuum = static_cast<BackendType>(entry.backend_type) == B_AUTOVAC_WORKER;
    who.is_idle = entry.state == SessionState::kIdle;
  }
  if (holder.prepared != nullptr) {
    who.name = holder.prepared->gid;
    who.is_in_this_database = holder.prepared->database_oid == MyDatabaseId;
  }
  if (is_slot) {
    who.pid = holder.slot->pid;
    who.is_logical = holder.slot->is_logical;
    who.is_temporary = holder.slot->is_temporary;
    who.is_synced = holder.slot->is_synced;
    who.has_xmin = holder.slot->xmin != 0;
  }
  char remedy[kHorizonRemedySize];
  describe_remedy(who, remedy);
  row->add_foreign_text(remedy, encoding);
}

// The columns of pgleak.read_horizon(), in its order.
void add_row(ReturnSetInfo* result, const Reading& reading, const HorizonHolder& horizon) {
  const Holder& holder = reading.holders[horizon.number];
  const WallTime since = held_since(reading, horizon, holder);
  Row row(result);
  add_who(&row, horizon, holder);
  add_held(&row, reading, horizon, holder);
  row.add_time(since);
  row.add_duration(time_since(since, reading.now.wall));
  add_slot_columns(&row, reading, holder.slot);
  row.add_bool(horizon.is_oldest);
  add_remedy(&row, horizon, holder);
  row.finish();
}

}  // namespace

}  // namespace pgleak

Datum pgleak_read_horizon(PG_FUNCTION_ARGS) {
  using namespace pgleak;
  require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  ReturnSetInfo* const result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const Reading reading = read_horizon(result->econtext);
  for (int i = 0; i < reading.count; i++) add_row(result, reading, reading.horizon[i]);
  return 0;
}
