// The C function behind the view pgleak.waits: who waits for a lock behind whom, read live from the server's
// lock table.
//
// Any session may call it. It allocates its memory per call, holds one partition lock of the lock table at a
// time, shared, and masks what it shows of other users' sessions as pg_stat_activity does.

#include <algorithm>
#include <optional>

#include "core/session.hpp"
#include "core/wait_graph.hpp"
#include "functions/functions.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/encoding.hpp"
#include "pg/json.hpp"
#include "pg/lock_names.hpp"
#include "pg/lock_waits.hpp"
#include "pg/postgres.hpp"
#include "pg/row.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "utils/lsyscache.h"  // declares get_database_name from 19 on

PG_FUNCTION_INFO_V1(pgleak_read_waits);
}

namespace pgleak {

namespace {

// A process as the status array shows it.
struct Participant {
  StatusEntry entry;
  bool is_visible;  // to the current user
  int slot;         // its index in the status array
  LoginNames login;
  const char* name;  // application_name
  const char* statement;
  int statement_length;
};

char* allocate_statement() {
  return static_cast<char*>(palloc(static_cast<Size>(pgstat_track_activity_query_size)));
}

// Reads its statement into `statement`. Nothing if the process has gone.
std::optional<Participant> read_participant(int node, int pid, char* statement) {
  Participant participant{};
  SessionIdentity who{};
  const std::optional<int> index = find_status(node, pid);
  if (!index || read_status(*index, &participant.entry) != StatusRead::kDone) return std::nullopt;
  if (!read_status_strings(*index, participant.entry.id, &who, statement, pgstat_track_activity_query_size,
                           &participant.statement_length))
    return std::nullopt;
  if (participant.entry.id.pid != pid) return std::nullopt;
  participant.is_visible = may_see_details(participant.entry.role_oid);
  participant.name = pstrdup(who.application_name);
  participant.statement = statement;
  participant.slot = *index;
  participant.login = login_names(*index, participant.entry);
  return participant;
}

void add_foreign_or_null(Row* row, const char* text, int encoding) {
  text == nullptr ? row->add_null() : row->add_foreign_text(text, encoding);
}

void add_waiter(Row* row, int pid, const std::optional<Participant>& waiter) {
  row->add_int32(pid);
  if (!waiter) return row->add_nulls(5);
  add_foreign_or_null(row, waiter->login.database, waiter->login.encoding);
  add_foreign_or_null(row, waiter->login.role, waiter->login.encoding);
  row->add_foreign_text(waiter->name, waiter->login.encoding);
  if (!waiter->is_visible) {
    row->add_null();
    row->add_text("<insufficient privilege>");
    return;
  }
  row->add_text(backend_type_name(waiter->entry));
  row->add_foreign_text(waiter->statement, waiter->login.encoding);
}

void add_wait(Row* row, const LOCKTAG& tag, const Behind& wait, WallTime now) {
  row->add_text(lock_type_name(tag));
  row->add_text(is_relation_lock(tag) ? relation_name(tag) : nullptr);
  row->add_text(lock_mode_name(tag, wait.mode));
  row->add_time(wait.since);
  row->add_duration(time_since(wait.since, now));
}

// A session that is active is not idle, and one that is idle outside of a transaction has none.
void add_root_session(Row* row, const Participant& root, const char* route, WallTime now) {
  const StatusEntry& entry = root.entry;
  const bool is_idle = entry.state == SessionState::kIdle || is_idle_in_transaction(entry.state);
  row->add_text(entry.is_client_backend ? "session" : "background process");
  row->add_text(root.is_visible ? to_string(entry.state) : nullptr);
  row->add_foreign_text(root.name, root.login.encoding);
  add_foreign_or_null(row, root.login.database, root.login.encoding);
  add_foreign_or_null(row, root.login.role, root.login.encoding);
  if (!root.is_visible) return row->add_nulls(3);
  row->add_duration(is_idle ? time_since(entry.state_start, now) : std::nullopt);
  row->add_duration(time_since(entry.xact_start, now));
  row->add_text(route);
}

// The root of a row: a process, a prepared transaction, or nobody in a deadlock.
struct Root {
  LockProcess process;
  std::optional<Participant> participant;
  const char* route;  // of its statement; nullptr: none
};

void add_root(Row* row, const Root* root, WallTime now) {
  if (root == nullptr) return row->add_nulls(10);
  if (root->process.pid == 0) {
    row->add_null();
    row->add_xid(root->process.xid);
    row->add_text("prepared transaction");
    return row->add_nulls(7);
  }
  row->add_int32(root->process.pid);
  row->add_null();
  if (!root->participant) return row->add_nulls(8);
  add_root_session(row, *root->participant, root->route, now);
}

// What one call has read, and where its rows go.
struct Report {
  ReturnSetInfo* result;
  LockWaits waits;
  WallTime now;
  char* statement;  // buffer for that of a waiter
  bool* is_shown;   // by node: it has a row
  int rows;
};

// The columns of pgleak.read_waits(), in its order.
void add_row(Report* report, const Behind& wait, const Root* root) {
  const int pid = report->waits.process(wait.node).pid;
  Row row(report->result);
  add_waiter(&row, pid, read_participant(wait.node, pid, report->statement));
  add_wait(&row, report->waits.tag(wait.lock), wait, report->now);
  row.add_int32(wait.depth);
  add_root(&row, root, report->now);
  row.add_int32(++report->rows);
  row.finish();
  report->is_shown[wait.node] = true;
}

// The route that the tags of its transaction name, or of its last one; nullptr: none.
const char* read_route(const Participant& participant) {
  if (participant.slot >= shared->slot_count) return nullptr;  // no session
  const TransactionReport report = session_slot(participant.slot).backend.report();
  const TransactionBlock block = current_block(combine(participant.entry, report));
  const XactSeq xact_seq = block.exists ? block.xact_seq : report.ended_count - 1;
  TagText text;
  Tags tags;
  read_tags_of(participant.slot, xact_seq, participant.statement, &text);
  read_tags(text, &tags);
  return route_text(tags, participant.login.encoding);
}

void add_all_behind(Report* report, int node) {
  const int sessions = report->waits.graph().blocked_behind(node).sessions;
  if (sessions == 0) return;
  Root root{report->waits.process(node), std::nullopt, nullptr};
  char* const statement = allocate_statement();
  if (root.process.pid != 0) root.participant = read_participant(node, root.process.pid, statement);
  if (root.participant) root.route = read_route(*root.participant);
  for (int i = 0; i < sessions; i++) {
    CHECK_FOR_INTERRUPTS();
    add_row(report, report->waits.graph().nth_behind(i), &root);
  }
  pfree(statement);
}

struct RankedRoot {
  int node;
  int sessions;  // behind it
  LockProcess process;
};

// The root with the most waiters comes first.
bool precedes(const RankedRoot& a, const RankedRoot& b) {
  if (a.sessions != b.sessions) return a.sessions > b.sessions;
  return a.process.pid != b.process.pid ? a.process.pid < b.process.pid : a.process.xid < b.process.xid;
}

// `roots` has room for one for each node. Returns their number.
int rank_roots(LockWaits* waits, RankedRoot* roots) {
  WaitGraph& graph = waits->graph();
  int count = 0;
  for (int node = graph.next_root(0); node >= 0; node = graph.next_root(node + 1))
    roots[count++] = RankedRoot{node, graph.blocked_behind(node).sessions, waits->process(node)};
  std::sort(roots, roots + count, precedes);
  return count;
}

void read_waits(ReturnSetInfo* result) {
  Report report{result, {}, wall_now(), allocate_statement(), nullptr, 0};
  const int nodes = compat::proc_count();
  report.waits.allocate();
  report.is_shown = static_cast<bool*>(palloc0(static_cast<Size>(nodes) * sizeof(bool)));
  report.waits.read(published_replay_wait());
  RankedRoot* const roots = static_cast<RankedRoot*>(palloc(static_cast<Size>(nodes) * sizeof(RankedRoot)));
  const int root_count = rank_roots(&report.waits, roots);
  for (int i = 0; i < root_count; i++) add_all_behind(&report, roots[i].node);
  const WaitGraph& graph = report.waits.graph();
  // Who waits in a deadlock, or behind one, has no root.
  for (int node = 0; node < nodes; node++)
    if (graph.waits(node) && !report.is_shown[node]) add_row(&report, graph.wait_of(node), nullptr);
}

}  // namespace

}  // namespace pgleak

Datum pgleak_read_waits(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::read_waits(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo));
  return 0;
}
