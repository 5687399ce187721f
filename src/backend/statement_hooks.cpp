#include "backend/backend.hpp"
#include "pg/clock.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/portal.h"
}

namespace pgleak {

namespace {

// The next hook: another module's, or the server's own function.
ProcessUtility_hook_type next_utility = nullptr;
ExecutorRun_hook_type next_executor_run = nullptr;

// True if the client itself asked for `portal`, by a simple query or by a Bind. DECLARE CURSOR, EXECUTE and
// functions that open cursors make portals too. Counting the nesting depth, as pg_stat_statements does, would
// also tell them apart but costs a setjmp per statement.
[[gnu::always_inline]] inline bool is_clients_portal(const PortalData* portal) {
  // Only these two leave the name empty or set the name of a prepared statement.
  if (portal->name[0] == '\0' || portal->prepStmtName != nullptr) return true;
  // Bind of the unnamed statement to a named portal. DECLARE CURSOR has no cached plan, EXECUTE hides its
  // portal, and a function would have to open a cursor for the very text that called it.
  return portal->cplan != nullptr && portal->visible && debug_query_string != nullptr &&
         strcmp(portal->sourceText, debug_query_string) == 0;
}

// The statement of a portal that stands for what the client wrote. Rules may add statements or replace them.
const void* main_statement(Portal portal) {
  if (portal->stmts == NIL) return nullptr;
  const void* primary = list_length(portal->stmts) > 1 ? PortalGetPrimaryStmt(portal) : nullptr;
  return primary != nullptr ? primary : linitial(portal->stmts);
}

// True if the client asked for `statement`, which is about to run. Functions and triggers run their
// statements inside a portal too, but those are not the portal's main statement.
[[gnu::always_inline]] inline bool is_clients_statement(const PlannedStmt* statement) {
  Portal portal = ActivePortal;
  return portal != nullptr && main_statement(portal) == statement && is_clients_portal(portal);
}

// True if the client asked for `statement`, and `direction` is that of its first run. A client that fetches a
// result in parts runs one statement many times.
[[gnu::always_inline]] inline bool begins_clients_statement(const PlannedStmt* statement,
                                                            ScanDirection direction) {
  return is_clients_statement(statement) && ActivePortal->atStart && direction != NoMovementScanDirection;
}

// Usually the statement is all of the client's message, whose length is known.
void remember(const PlannedStmt* statement, const char* source, Message message) {
  const bool is_whole = source == message.text && statement->stmt_location <= 0 && statement->stmt_len <= 0;
  const Micros idle_sum = pgstat_track_activities ? Micros{pgStatTransactionIdleTime} : Micros{-1};
  my_trail->add(
      my_block_seq(), my_slot->backend.watched(),
      TrailStatement{from_timestamp(GetCurrentStatementStartTimestamp()),
                     static_cast<std::uint64_t>(statement->queryId), idle_sum,
                     is_whole ? message_text(source, message.length)
                              : statement_text(source, statement->stmt_location, statement->stmt_len)});
}

bool ends_transaction(const TransactionStmt* statement) {
  return statement->kind == TRANS_STMT_COMMIT || statement->kind == TRANS_STMT_ROLLBACK ||
         statement->kind == TRANS_STMT_PREPARE;
}

// True if `statement` ends a transaction that has no episode. Its trail is about to be discarded, and while
// the statement runs, the session shows it anyway.
bool ends_unwatched(const PlannedStmt* statement) {
  return IsA(statement->utilityStmt, TransactionStmt) &&
         ends_transaction(reinterpret_cast<const TransactionStmt*>(statement->utilityStmt)) &&
         my_slot->backend.watched() != my_block_seq();
}

// True if nothing comes after the statement that its tags could stand for.
bool ends_all(const Node* statement) {
  return IsA(statement, TransactionStmt) &&
         ends_transaction(reinterpret_cast<const TransactionStmt*>(statement));
}

// What an earlier statement or transaction has left for the next statement to do.
[[gnu::noinline]] void attend() {
  if (has_accepted_cancel()) forget_ignored_cancel();
  if (has_care(kListeningUnsure)) ask_if_listening();
}

bool is_concurrent_detach(const AlterTableStmt* alter) {
  ListCell* cell = nullptr;
  foreach (cell, alter->cmds) {
    const AlterTableCmd* const command = static_cast<const AlterTableCmd*>(lfirst(cell));
    if (command->subtype == AT_DetachPartition)
      return reinterpret_cast<const PartitionCmd*>(command->def)->concurrent;
  }
  return false;
}

bool is_concurrent_reindex(const ReindexStmt* reindex) {
  ListCell* cell = nullptr;
  foreach (cell, reindex->params) {
    if (strcmp(static_cast<const DefElem*>(lfirst(cell))->defname, "concurrently") == 0) return true;
  }
  return false;
}

// True if a cancel of this command leaves an invalid object behind, which then has to be removed.
bool leaves_debris(const Node* statement) {
  switch (nodeTag(statement)) {
    case T_IndexStmt:
      return reinterpret_cast<const IndexStmt*>(statement)->concurrent;
    case T_DropStmt:
      return reinterpret_cast<const DropStmt*>(statement)->concurrent;
    case T_ReindexStmt:
      return is_concurrent_reindex(reinterpret_cast<const ReindexStmt*>(statement));
    case T_AlterTableStmt:
      return is_concurrent_detach(reinterpret_cast<const AlterTableStmt*>(statement));
    default:
      return false;
  }
}

// SET idle_in_transaction_session_timeout = 0 declares the session; any other SET or a RESET of it ends that.
void note_set(const VariableSetStmt* set) {
  const bool is_meant =
      set->kind == VAR_RESET_ALL ||
      (set->name != nullptr && strcmp(set->name, "idle_in_transaction_session_timeout") == 0);
  if (is_meant)
    my_slot->backend.publish_declared(set->kind == VAR_SET_VALUE && IdleInTransactionSessionTimeout == 0);
}

// What the statement tells about the session as a holder and as a target of actions.
enum class Meaning { kNothing, kSet, kDiscard, kListen, kDebris };

Meaning meaning_of(const Node* statement, bool is_toplevel) {
  if (IsA(statement, ListenStmt) || IsA(statement, UnlistenStmt)) return Meaning::kListen;
  if (!is_toplevel) return Meaning::kNothing;
  if (IsA(statement, VariableSetStmt)) return Meaning::kSet;
  if (IsA(statement, DiscardStmt)) return Meaning::kDiscard;
  return leaves_debris(statement) ? Meaning::kDebris : Meaning::kNothing;
}

void note_meaning(Meaning meaning, const Node* statement) {
  if (meaning == Meaning::kSet) note_set(reinterpret_cast<const VariableSetStmt*>(statement));
  if (meaning == Meaning::kDiscard) my_slot->backend.publish_declared(false);
  if (meaning == Meaning::kDiscard || meaning == Meaning::kListen) note_listen(statement);
  if (meaning == Meaning::kDebris) my_slot->backend.publish_debris(false);
}

bool finishes_prepared(const TransactionStmt* statement) {
  return statement->kind == TRANS_STMT_COMMIT_PREPARED || statement->kind == TRANS_STMT_ROLLBACK_PREPARED;
}

bool begins_transaction(const TransactionStmt* statement) {
  return statement->kind == TRANS_STMT_BEGIN || statement->kind == TRANS_STMT_START;
}

// True if nothing is to be done before or after the statement than to run it: for most that begin or end a
// transaction, which are most of all utility statements. Calls nothing.
[[gnu::always_inline]] inline bool is_of_no_interest(const Node* statement) {
  if (!needs_no_care() || !IsA(statement, TransactionStmt)) return false;
  const TransactionStmt* const transaction = reinterpret_cast<const TransactionStmt*>(statement);
  if (!ends_transaction(transaction))
    return begins_transaction(transaction) && my_trail == nullptr && has_no_idle_time() && is_bare_begin();
  // The idle time before it is counted when the transaction ends.
  if (transaction->kind == TRANS_STMT_PREPARE) return false;
  return my_trail == nullptr || my_slot->backend.report().ended_count != my_slot->backend.watched();
}

// True if the trail is all that the statement is of interest to.
[[gnu::always_inline]] inline bool is_plain_begin(const Node* statement) {
  return my_trail != nullptr && needs_no_care() && IsA(statement, TransactionStmt) &&
         begins_transaction(reinterpret_cast<const TransactionStmt*>(statement)) && has_no_idle_time() &&
         is_bare_begin();
}

// COMMIT PREPARED and ROLLBACK PREPARED end another transaction within this one, unless they are about to
// fail because of a block. A cancel that is pending when they come to wait for a standby would report a
// commit that no standby has.
void before_transaction_statement(const TransactionStmt* statement) {
  if (statement->kind == TRANS_STMT_PREPARE) note_prepare(statement->gid);
  if (finishes_prepared(statement) && !IsTransactionBlock()) begin_transaction_end();
}

// What is to be done before the statement runs; returns what it means.
[[gnu::noinline]] Meaning before_utility(const PlannedStmt* statement, const char* query, bool is_toplevel) {
  if (!count_idle_time()) count_idle_time_with_care();
  if (!needs_no_care()) attend();
  const Message message = ends_all(statement->utilityStmt) ? Message{nullptr, 0} : note_tags();
  if (is_toplevel && my_trail != nullptr && !ends_unwatched(statement) && is_clients_statement(statement))
    remember(statement, query, message);
  if (is_toplevel && has_care(kCancelledBlock)) guard_commit(statement);
  const Node* const inner = statement->utilityStmt;
  if (my_slot == nullptr) return Meaning::kNothing;
  if (IsA(inner, VariableSetStmt) || IsA(inner, DiscardStmt)) forget_my_pool();
  if (!IsA(inner, TransactionStmt)) {
    const Meaning meaning = meaning_of(inner, is_toplevel);
    if (meaning == Meaning::kDebris) my_slot->backend.publish_debris(true);
    return meaning;
  }
  if (is_toplevel) before_transaction_statement(reinterpret_cast<const TransactionStmt*>(inner));
  return Meaning::kNothing;
}

// Calls in last position cost nothing: they keep the hook from saving its arguments, or from passing them
// again. A statement is still allocated when it has run, except for those that end transactions.
[[gnu::noinline]] void process_with_care(PlannedStmt* statement, const char* query, bool is_read_only_tree,
                                         ProcessUtilityContext context, ParamListInfo parameters,
                                         QueryEnvironment* environment, DestReceiver* destination,
                                         QueryCompletion* completion) {
  if (is_plain_begin(statement->utilityStmt)) {
    if (is_clients_statement(statement))
      remember(statement, query, Message{debug_query_string, strlen("BEGIN")});
    return next_utility(statement, query, is_read_only_tree, context, parameters, environment, destination,
                        completion);
  }
  const Meaning meaning = before_utility(statement, query, context == PROCESS_UTILITY_TOPLEVEL);
  if (meaning == Meaning::kNothing)
    return next_utility(statement, query, is_read_only_tree, context, parameters, environment, destination,
                        completion);
  const Node* const inner = statement->utilityStmt;
  next_utility(statement, query, is_read_only_tree, context, parameters, environment, destination,
               completion);
  note_meaning(meaning, inner);
}

void process_utility(PlannedStmt* statement, const char* query, bool is_read_only_tree,
                     ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment* environment,
                     DestReceiver* destination, QueryCompletion* completion) {
  if (is_of_no_interest(statement->utilityStmt))
    return next_utility(statement, query, is_read_only_tree, context, parameters, environment, destination,
                        completion);
  process_with_care(statement, query, is_read_only_tree, context, parameters, environment, destination,
                    completion);
}

[[gnu::noinline]] void prepare_run() {
  if (!count_idle_time()) count_idle_time_with_care();
  if (!needs_no_care()) attend();
}

// Not ExecutorStart, because a client that fetches a result in parts starts its statement once, and is idle
// between its runs. `rest` differs between versions of the server.
template <bool has_trails, typename... Rest>
void executor_run(QueryDesc* query, ScanDirection direction, uint64 count, Rest... rest) {
  if (!needs_no_care() || !count_idle_time()) prepare_run();
  const Message message = note_tags();
  if (has_trails && my_trail != nullptr && begins_clients_statement(query->plannedstmt, direction))
    remember(query->plannedstmt, query->sourceText, message);
  next_executor_run(query, direction, count, rest...);
}

}  // namespace

void install_statement_hooks() {
  next_utility = ProcessUtility_hook != nullptr ? ProcessUtility_hook : standard_ProcessUtility;
  ProcessUtility_hook = process_utility;
  next_executor_run = ExecutorRun_hook != nullptr ? ExecutorRun_hook : standard_ExecutorRun;
  if (settings.trail_size > 0)
    ExecutorRun_hook = executor_run<true>;
  else
    ExecutorRun_hook = executor_run<false>;
}

}  // namespace pgleak
