// The C function behind the view pgleak.leaks: the open episodes, read live from shared memory.
//
// Any session may call it. It takes no lock and checks permissions beyond GRANT itself. One query sees one
// snapshot, however many times it reads the view.

#include <cstdint>

#include "core/application_name.hpp"
#include "core/detection.hpp"
#include "core/keepalive.hpp"
#include "core/session.hpp"
#include "functions/functions.hpp"
#include "functions/prepared_leaks.hpp"
#include "pg/autovacuum.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/contention_json.hpp"
#include "pg/encoding.hpp"
#include "pg/json.hpp"
#include "pg/postgres.hpp"
#include "pg/row.hpp"
#include "pg/settings.hpp"
#include "pg/wait_event.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pgleak_read_leaks);
}

namespace pgleak {

namespace {

// One open episode and its session.
struct LiveLeak {
  SessionRecord record;
  StatusEntry entry;
  SessionIdentity who;
  Ages ages;
  std::uint32_t wait_event;  // 0: it waits for nothing
  bool is_declared;
  Contention contention;  // leak_id 0: nothing is known
  const char* statement;  // as in the status array
  int statement_length;
  const TrailEntry* trail;
  int trail_length;
  TagText tags;
  const LiveLeak* next;
};

// How often a session may change while it is read. A read takes a few microseconds, far less than a
// statement.
constexpr int kReadTries = 1000;

// What one query has read. Queries can be nested, so these form a list.
struct QuerySnapshot {
  MemoryContextCallback at_end;
  const EState* query;
  const LiveLeak* leaks;
  const LivePrepared* prepared;
  QuerySnapshot* next;
};
QuerySnapshot* query_snapshots = nullptr;

void forget_snapshot(void* argument) {
  for (QuerySnapshot** link = &query_snapshots; *link != nullptr; link = &(*link)->next) {
    if (*link != argument) continue;
    *link = (*link)->next;
    return;
  }
}

enum class ReadResult : std::uint8_t {
  kSeen,
  kNoLeak,
  kMoved,  // the session changed during the read: the parts do not belong together
};

// True if the episode's transaction is over, even if the scanner has not noticed yet.
bool is_over(const SessionRecord& record, const SessionStatus& status) {
  const Episode& episode = record.episode;
  if (episode.is_session_level || status.ended_count <= episode.xact_seq) return false;
  const TransactionBlock block = current_block(status);
  if (block.exists && block.xact_seq == episode.xact_seq) return false;
  // During a rollback in place the transaction is over, but the session does not show its aborted block yet.
  const bool is_being_cancelled =
      episode.progress.action.result == ActionResult::kRequested && is_idle_in_transaction(status.state) &&
      status.ended_count == episode.xact_seq + 1 && status.last_end == TransactionEnd::kRolledBack;
  return !is_being_cancelled;
}

// Reads the session of slot `index`. Its state, statement and trail belong to the same moment.
ReadResult read_leak(int index, Now now, LiveLeak* leak, char* statement, TrailEntry* trail) {
  const SessionSlot& slot = session_slot(index);
  const std::uint32_t version = status_version(index);
  if (!slot.scanner.read(&leak->record)) return ReadResult::kMoved;
  if (!leak->record.is_open) return ReadResult::kNoLeak;

  const Episode& episode = leak->record.episode;
  const TransactionReport report = slot.backend.report();
  leak->is_declared = slot.backend.is_declared();
  if (read_status(index, &leak->entry) == StatusRead::kUnused || leak->entry.id != episode.session)
    return ReadResult::kNoLeak;
  if (!read_status_strings(index, episode.session, &leak->who, statement, pgstat_track_activity_query_size,
                           &leak->statement_length))
    return ReadResult::kMoved;
  BackendOwner owner;
  if (slot.backend.read_owner(episode.session, &owner)) leak->wait_event = wait_event_of(owner.proc_index);
  if (!slot.contention.read(&leak->contention)) return ReadResult::kMoved;
  if (leak->contention.leak_id != episode.leak_id) leak->contention = Contention{};
  leak->trail_length = read_trail(index, episode.xact_seq, trail);
  read_episode_tags(index, episode, statement, &leak->tags);
  if (status_version(index) != version || slot.backend.report().ended_count != report.ended_count)
    return ReadResult::kMoved;

  const SessionStatus status = combine(leak->entry, report);
  if (is_over(leak->record, status)) return ReadResult::kNoLeak;
  const PreviousScan never{};
  if (leak->trail_length > 0 && has_run_since(leak->record.clocks, status))
    pass_over_keepalive(&leak->record.clocks, status, trail[leak->trail_length - 1]);
  leak->ages = measure_ages(&leak->record.clocks, status, current_block(status), now, never);
  return ReadResult::kSeen;
}

bool read_until_unchanged(int index, Now now, LiveLeak* leak, char* statement, TrailEntry* trail) {
  for (int i = 0; i < kReadTries; i++) {
    const ReadResult result = read_leak(index, now, leak, statement, trail);
    if (result != ReadResult::kMoved) return result == ReadResult::kSeen;
  }
  return false;  // its backend was stopped in the middle of a change; no row is better than a false one
}

template <typename Element>
Element* copy_of(const Element* elements, int count) {
  const Size size = static_cast<Size>(count) * sizeof(Element);
  return static_cast<Element*>(memcpy(palloc(size), elements, size));
}

// Allocates everything in the current memory context.
const LiveLeak* read_all_leaks() {
  const Now now = read_clocks();
  const LiveLeak* first = nullptr;
  const LiveLeak** link = &first;
  char* statement = static_cast<char*>(palloc(static_cast<Size>(pgstat_track_activity_query_size)));
  TrailEntry trail[kMaxTrailSize];
  for (int i = 0; i < shared->slot_count; i++) {
    LiveLeak leak{};
    if (!read_until_unchanged(i, now, &leak, statement, trail)) continue;
    leak.statement = copy_of(statement, leak.statement_length + 1);
    leak.trail = copy_of(trail, leak.trail_length);
    LiveLeak* kept = copy_of(&leak, 1);
    *link = kept;
    link = &kept->next;
  }
  pfree(statement);
  return first;
}

// Outside of a query, the snapshot is new each time.
const QuerySnapshot* live_leaks(EState* query) {
  for (const QuerySnapshot* snapshot = query_snapshots; snapshot != nullptr; snapshot = snapshot->next)
    if (snapshot->query == query) return snapshot;

  MemoryContext context = query == nullptr ? CurrentMemoryContext : query->es_query_cxt;
  MemoryContext caller = MemoryContextSwitchTo(context);
  QuerySnapshot* snapshot = static_cast<QuerySnapshot*>(palloc0(sizeof(QuerySnapshot)));
  snapshot->query = query;
  snapshot->leaks = read_all_leaks();
  snapshot->prepared = read_all_prepared();
  MemoryContextSwitchTo(caller);
  if (query == nullptr) return snapshot;
  snapshot->next = query_snapshots;
  snapshot->at_end.func = forget_snapshot;
  snapshot->at_end.arg = snapshot;
  // Nothing after this point can fail: an entry of the list must be removed at the end of its query.
  MemoryContextRegisterResetCallback(query->es_query_cxt, &snapshot->at_end);
  query_snapshots = snapshot;
  return snapshot;
}

}  // namespace

// The impact as of the last scan: its values are meaningful only together.
void add_impact(Row* row, const ImpactSample& impact) {
  row->add_xid(impact.xid);
  row->add_xid(impact.xmin);
  if (impact.xmin_age < 0)
    row->add_null();
  else
    row->add_int64(impact.xmin_age);
  row->add_int32(impact.locks);
  row->add_int32(impact.blocked);
  row->add_duration(impact.blocked_for);
  row->add_text(to_string(impact.impact));
}

void add_effects(Row* row, const LeakEffects& effects) {
  row->add_duration(shown_oldest_for(effects));
  if (effects.retained_bytes == 0) {
    row->add_nulls(2);
  } else {
    row->add_int64(static_cast<std::int64_t>(effects.retained_bytes));
    row->add_text(effects.slot_name);
  }
  effects.has_queue_usage ? row->add_double(static_cast<double>(effects.notify_queue_usage))
                          : row->add_null();
  effects.sampled_at.is_set() ? row->add_bool(effects.has_subxact_overflow) : row->add_null();
}

void add_autovacuum_skipped(Row* row, const Contention& contention) {
  const std::optional<bool> is_skipped =
      contention.leak_id == 0 ? std::nullopt : skipped_by_autovacuum(contention, monotonic_now());
  if (is_skipped)
    row->add_bool(*is_skipped);
  else
    row->add_null();
}

namespace {

void add_source(Row* row, const ActionState& action) {
  char text[kActionSourceSize];
  describe_source(action.source, text);
  if (action.last == Action::kNone)
    row->add_null();
  else
    row->add_foreign_text(text, action.source.encoding);
}

void add_hold(Row* row, const ActionHold& hold) {
  char text[kHoldSize];
  describe_hold(hold, text);
  if (hold.reason == HoldReason::kRateLimit) {
    const pg_time_t until = timestamptz_to_time_t(to_timestamp(hold.until));
    const pg_tm* const local = pg_localtime(&until, session_timezone);
    const std::size_t length = strlen(text);
    if (local != nullptr) pg_strftime(text + length, sizeof(text) - length, "%H:%M:%S", local);
  }
  row->add_text(text[0] != '\0' ? text : nullptr);
}

// The columns of pgleak.read_leaks(), in its order.
void add_leak(Row* row, const LiveLeak& leak) {
  const Episode& episode = leak.record.episode;
  const int encoding = episode.who.encoding;
  const bool is_visible = may_see_details(leak.who.role_oid);

  row->add_int64(episode.leak_id);
  row->add_text(to_string(episode.kind));
  row->add_int32(episode.session.pid);
  row->add_null();  // gid
  row->add_foreign_text(episode.who.database, encoding);
  row->add_foreign_text(episode.who.role, encoding);
  row->add_foreign_text(leak.who.application_name, encoding);
  if (!is_visible) {
    row->add_nulls(39);
    row->add_text("<insufficient privilege>");
    row->add_nulls(4);
    return;
  }
  const ClientAddress client = shown_client(leak.who);
  row->add_text(client.address[0] != '\0' ? client.address : nullptr);
  if (client.port == kPortUnknown)
    row->add_null();
  else
    row->add_int32(client.port);
  row->add_time(episode.session.backend_start);
  row->add_time(episode.xact_start);
  row->add_null();  // prepared_at
  row->add_text(to_string(leak.entry.state));
  row->add_text(wait_event_name(leak.wait_event));
  row->add_time(is_active(leak.entry.state) ? WallTime::none() : leak.entry.state_start);
  row->add_duration(leak.ages.idle);
  row->add_duration(leak.ages.transaction);
  row->add_text(to_string(episode.clock));
  row->add_time(episode.detected_at);
  row->add_duration(episode.leak_after);
  row->add_text(name_of(episode.limit_source, episode.rule_id).text);
  add_impact(row, leak.record.impact);
  row->add_jsonb(held_json(leak.contention.held));
  row->add_jsonb(waiting_json(leak.contention.waiting, may_see_details));
  add_effects(row, episode.progress.effects);
  add_autovacuum_skipped(row, leak.contention);
  if (episode.progress.client_gone)
    row->add_bool(*episode.progress.client_gone);
  else
    row->add_null();
  row->add_text(to_string(leak.record.next_action));
  row->add_time(leak.record.next_action_at);
  add_hold(row, leak.record.hold);
  row->add_null();  // remedy
  row->add_bool(leak.is_declared);
  row->add_text(to_string(episode.progress.action.last));
  row->add_time(episode.progress.action.at);
  char result[kResultSize];
  describe_result(episode.progress.action, result);
  row->add_text(result[0] != '\0' ? result : nullptr);
  add_source(row, episode.progress.action);
  row->add_foreign_text(leak.statement, encoding);
  if (leak.entry.query_id == 0)
    row->add_null();
  else
    row->add_int64(static_cast<std::int64_t>(leak.entry.query_id));
  Tags tags;
  read_tags(leak.tags, &tags);
  row->add_jsonb(tags_json(tags, encoding));
  row->add_text(code_text(tags, encoding));
  row->add_jsonb(trail_json(leak.trail, leak.trail_length, encoding));
}

}  // namespace

void read_leaks(ReturnSetInfo* result) {
  const ExprContext* context = result->econtext;
  const QuerySnapshot* const snapshot = live_leaks(context != nullptr ? context->ecxt_estate : nullptr);
  for (const LiveLeak* leak = snapshot->leaks; leak != nullptr; leak = leak->next) {
    Row row(result);
    add_leak(&row, *leak);
    row.finish();
  }
  add_prepared_leaks(result, snapshot->prepared);
}

}  // namespace pgleak

Datum pgleak_read_leaks(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_leaks(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}
