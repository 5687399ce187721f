#include "server/statement_hooks.hpp"

#include "server/commit_guard.hpp"
#include "server/in_place.hpp"
#include "server/own_session.hpp"
#include "server/postgres.hpp"
#include "server/settings.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/executor.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/portal.h"
}

namespace pgleak {

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;
ExecutorStart_hook_type previous_executor_hook = nullptr;

// Whether the client itself asked for `portal`: by a simple query, or by a Bind. Portals are also made by
// DECLARE CURSOR, EXECUTE and functions that open cursors; counting how deep we are in these instead would
// cost a setjmp for every statement (as in pg_stat_statements).
bool is_clients_portal(const PortalData* portal) {
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
bool is_clients_statement(const PlannedStmt* statement) {
  Portal portal = ActivePortal;
  return portal != nullptr && main_statement(portal) == statement && is_clients_portal(portal);
}

void remember(const PlannedStmt* statement, const char* source) {
  own_trail->add(own_block_generation(), own_session->guest.watched(), GetCurrentStatementStartTimestamp(),
                 static_cast<std::uint64_t>(statement->queryId),
                 statement_text(source, statement->stmt_location, statement->stmt_len));
}

void process_utility(PlannedStmt* statement, const char* query, bool is_read_only_tree,
                     ProcessUtilityContext context, ParamListInfo parameters, QueryEnvironment* environment,
                     DestReceiver* destination, QueryCompletion* completion) {
  // In this order: with neither a trail nor a cancelled block it comes down to two loads.
  if (own_trail != nullptr && context == PROCESS_UTILITY_TOPLEVEL && is_clients_statement(statement))
    remember(statement, query);
  if (has_cancelled_block && context == PROCESS_UTILITY_TOPLEVEL) guard_commit(statement);
  const ProcessUtility_hook_type next =
      previous_utility_hook != nullptr ? previous_utility_hook : standard_ProcessUtility;
  next(statement, query, is_read_only_tree, context, parameters, environment, destination, completion);
}

void executor_start(QueryDesc* query, int flags) {
  if (own_trail != nullptr && is_clients_statement(query->plannedstmt))
    remember(query->plannedstmt, query->sourceText);
  const ExecutorStart_hook_type next =
      previous_executor_hook != nullptr ? previous_executor_hook : standard_ExecutorStart;
  next(query, flags);
}

}  // namespace

void install_statement_hooks() {
  previous_utility_hook = ProcessUtility_hook;
  ProcessUtility_hook = process_utility;
  // The executor's is there for the trail alone.
  if (settings.trail_size == 0) return;
  previous_executor_hook = ExecutorStart_hook;
  ExecutorStart_hook = executor_start;
}

}  // namespace pgleak
