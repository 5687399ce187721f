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

// Another module's, or the server's own.
ProcessUtility_hook_type next_utility = nullptr;
ExecutorStart_hook_type next_executor_start = nullptr;

// Whether the client itself asked for `portal`: by a simple query, or by a Bind. Portals are also made by
// DECLARE CURSOR, EXECUTE and functions that open cursors; counting how deep we are in these instead would
// cost a setjmp for every statement (as in pg_stat_statements).
[[gnu::always_inline]] inline bool is_clients_portal(const PortalData* portal) {
  // Nobody else may leave the name empty, and nobody else gives the name of a prepared statement.
  if (portal->name[0] == '\0' || portal->prepStmtName != nullptr) return true;
  // A Bind of the unnamed statement to a named portal. DECLARE CURSOR has no cached plan, EXECUTE hides its
  // portal, and a function would have to open a cursor for the very text that called it.
  return portal->cplan != nullptr && portal->visible && debug_query_string != nullptr &&
         strcmp(portal->sourceText, debug_query_string) == 0;
}

// The one of a portal's statements that stands for what the client wrote; rules add others to it, or put
// others in its place.
const void* main_statement(Portal portal) {
  if (portal->stmts == NIL) return nullptr;
  const void* primary = list_length(portal->stmts) > 1 ? PortalGetPrimaryStmt(portal) : nullptr;
  return primary != nullptr ? primary : linitial(portal->stmts);
}

// Whether `statement`, which is about to run, is what the client asked for. What functions, triggers and the
// like run, they run inside of a portal too, but it is not what the portal is for.
[[gnu::always_inline]] inline bool is_clients_statement(const PlannedStmt* statement) {
  Portal portal = ActivePortal;
  return portal != nullptr && main_statement(portal) == statement && is_clients_portal(portal);
}

void remember(const PlannedStmt* statement, const char* source) {
  my_trail->add(my_block_seq(), my_slot->backend.watched(),
                from_timestamp(GetCurrentStatementStartTimestamp()),
                static_cast<std::uint64_t>(statement->queryId),
                statement_text(source, statement->stmt_location, statement->stmt_len));
}

// Whether `statement` ends a transaction of which nobody has an episode. Its trail is forgotten the next
// moment, and while the statement runs it is what the session shows anyway.
bool ends_unwatched(const PlannedStmt* statement) {
  if (!IsA(statement->utilityStmt, TransactionStmt)) return false;
  const TransactionStmtKind kind = reinterpret_cast<TransactionStmt*>(statement->utilityStmt)->kind;
  if (kind != TRANS_STMT_COMMIT && kind != TRANS_STMT_ROLLBACK && kind != TRANS_STMT_PREPARE) return false;
  return my_slot->backend.watched() != my_block_seq();
}

// Not a part of the hook, which would have to save all its arguments for it even if there is nothing to do.
[[gnu::noinline]] void before_utility(const PlannedStmt* statement, const char* query) {
  if (my_trail != nullptr && !ends_unwatched(statement) && is_clients_statement(statement))
    remember(statement, query);
  if (has_cancelled_block) guard_commit(statement);
}

// Keeps track of SET idle_in_transaction_session_timeout = 0. Whatever takes it back ends the declaration.
[[gnu::noinline]] void note_declaration(const VariableSetStmt* set) {
  if (my_slot == nullptr) return;
  const bool is_reset_all = set->kind == VAR_RESET_ALL;
  if (!is_reset_all &&
      (set->name == nullptr || strcmp(set->name, "idle_in_transaction_session_timeout") != 0))
    return;
  my_slot->backend.publish_declared(set->kind == VAR_SET_VALUE && IdleInTransactionSessionTimeout == 0);
}

void process_utility(PlannedStmt* statement, const char* query, bool is_read_only_tree,
                     ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment* environment,
                     DestReceiver* destination, QueryCompletion* completion) {
  // With neither a trail nor a cancelled block it comes down to two loads.
  if ((my_trail != nullptr || has_cancelled_block) && context == PROCESS_UTILITY_TOPLEVEL)
    before_utility(statement, query);
  // Statements that end a transaction may free what they were called with; SET does not.
  const VariableSetStmt* const set =
      context == PROCESS_UTILITY_TOPLEVEL && IsA(statement->utilityStmt, VariableSetStmt)
          ? reinterpret_cast<const VariableSetStmt*>(statement->utilityStmt)
          : nullptr;
  next_utility(statement, query, is_read_only_tree, context, parameters, environment, destination,
               completion);
  if (set != nullptr) note_declaration(set);
}

void executor_start(QueryDesc* query, int flags) {
  if (my_trail != nullptr && is_clients_statement(query->plannedstmt))
    remember(query->plannedstmt, query->sourceText);
  next_executor_start(query, flags);
}

}  // namespace

void install_statement_hooks() {
  next_utility = ProcessUtility_hook != nullptr ? ProcessUtility_hook : standard_ProcessUtility;
  ProcessUtility_hook = process_utility;
  // The executor's is there for the trail alone.
  if (settings.trail_size == 0) return;
  next_executor_start = ExecutorStart_hook != nullptr ? ExecutorStart_hook : standard_ExecutorStart;
  ExecutorStart_hook = executor_start;
}

}  // namespace pgleak
