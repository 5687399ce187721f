// The C function behind pgleak.open_transactions(): every session that is in a transaction now, whether it
// leaks or not.
//
// Any session may call it; it masks what pg_stat_activity masks. It takes no lock.

#include "functions/functions.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/json.hpp"
#include "pg/row.hpp"
#include "pg/settings.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"

PG_FUNCTION_INFO_V1(pgleak_read_transactions);
}

namespace pgleak {

namespace {

// How often a session may change while it is read.
constexpr int kReadTries = 1000;

// A session in a transaction. The pointers are the caller's buffers.
struct OpenTransaction {
  StatusEntry entry;
  SessionIdentity who;
  TransactionBlock block;
  TagText tags;
  char* statement;
  TrailEntry* trail;
  int trail_length;
};

enum class ReadResult : std::uint8_t { kSeen, kNone, kMoved };

ReadResult read_transaction(int index, OpenTransaction* found) {
  const BackendSlot& backend = session_slot(index).backend;
  const std::uint32_t version = status_version(index);
  const TransactionReport report = backend.report();
  if (read_status(index, &found->entry) != StatusRead::kDone || !found->entry.is_client_backend ||
      found->entry.id.pid == MyProcPid)
    return ReadResult::kNone;
  found->block = current_block(combine(found->entry, report));
  if (!found->block.exists) return ReadResult::kNone;
  int length = 0;
  if (!read_status_strings(index, found->entry.id, &found->who, found->statement,
                           pgstat_track_activity_query_size, &length))
    return ReadResult::kMoved;
  found->trail_length = read_trail(index, found->block.xact_seq, found->trail);
  read_tags_of(index, found->block.xact_seq, found->statement, &found->tags);
  const bool is_unchanged =
      status_version(index) == version && backend.report().ended_count == report.ended_count;
  return is_unchanged ? ReadResult::kSeen : ReadResult::kMoved;
}

// No row is better than one of parts that do not belong together.
bool read_until_unchanged(int index, OpenTransaction* found) {
  for (int i = 0; i < kReadTries; i++) {
    const ReadResult result = read_transaction(index, found);
    if (result != ReadResult::kMoved) return result == ReadResult::kSeen;
  }
  return false;
}

// The columns of pgleak.read_transactions(), in its order.
void add_transaction(Row* row, int index, const OpenTransaction& found, WallTime now) {
  const LoginNames login = login_names(index, found.entry);
  const bool is_idle = is_idle_in_transaction(found.entry.state);
  row->add_int32(found.entry.id.pid);
  row->add_foreign_text(login.database, login.encoding);
  row->add_foreign_text(login.role, login.encoding);
  row->add_foreign_text(found.who.application_name, login.encoding);
  if (!may_see_details(found.entry.role_oid)) {
    row->add_nulls(4);
    row->add_text("<insufficient privilege>");
    row->add_nulls(5);
    return;
  }
  Tags tags;
  read_tags(found.tags, &tags);
  row->add_text(to_string(found.entry.state));
  row->add_time(found.block.xact_start);
  row->add_duration(time_since(found.block.xact_start, now));
  row->add_duration(is_idle ? time_since(found.entry.state_start, now) : std::nullopt);
  row->add_foreign_text(found.statement, login.encoding);
  if (found.entry.query_id == 0)
    row->add_null();
  else
    row->add_int64(static_cast<std::int64_t>(found.entry.query_id));
  row->add_jsonb(tags_json(tags, login.encoding));
  row->add_text(route_text(tags, login.encoding));
  row->add_text(code_text(tags, login.encoding));
  row->add_jsonb(trail_json(found.trail, found.trail_length, login.encoding));
}

void read_transactions(ReturnSetInfo* result) {
  const WallTime now = wall_now();
  TrailEntry trail[kMaxTrailSize];
  OpenTransaction found{};
  found.statement = static_cast<char*>(palloc(static_cast<Size>(pgstat_track_activity_query_size)));
  found.trail = trail;
  for (int i = 0; i < shared->slot_count; i++) {
    if (!read_until_unchanged(i, &found)) continue;
    Row row(result);
    add_transaction(&row, i, found, now);
    row.finish();
  }
}

}  // namespace

}  // namespace pgleak

Datum pgleak_read_transactions(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_transactions(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}
