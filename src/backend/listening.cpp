#include "backend/backend.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "utils/fmgroids.h"
}

namespace pgleak {

namespace {

// What the LISTEN and UNLISTEN of the running transaction will mean if it commits. A savepoint may take some
// of them back, so this is a guess until the server is asked.
enum class Pending { kNothing, kListens, kListensNot, kUnknown };
Pending pending = Pending::kNothing;

// Asks the server, which keeps the channels to itself. Allocates a little in the memory of the statement that
// is about to start.
bool is_listening_now() {
  FmgrInfo function;
  fmgr_info(F_PG_LISTENING_CHANNELS, &function);
  ExprContext* const context = CreateStandaloneExprContext();
  ReturnSetInfo result{};
  result.type = T_ReturnSetInfo;
  result.econtext = context;
  result.allowedModes = SFRM_ValuePerCall;
  result.returnMode = SFRM_ValuePerCall;
  LOCAL_FCINFO(call, 0);
  InitFunctionCallInfoData(*call, &function, 0, InvalidOid, nullptr, reinterpret_cast<Node*>(&result));
  // To the end, because the server may have to close what it reads.
  bool listens = false;
  for (;;) {
    FunctionCallInvoke(call);
    if (result.isDone != ExprMultipleResult) break;
    listens = true;
  }
  FreeExprContext(context, true);
  return listens;
}

}  // namespace

void note_listen(const Node* statement) {
  set_care(kPendingListen, true);
  if (IsA(statement, ListenStmt)) {
    pending = Pending::kListens;
  } else if (IsA(statement, UnlistenStmt)) {
    const bool is_all = reinterpret_cast<const UnlistenStmt*>(statement)->conditionname == nullptr;
    pending = is_all ? Pending::kListensNot : Pending::kUnknown;
  } else if (reinterpret_cast<const DiscardStmt*>(statement)->target == DISCARD_ALL) {
    pending = Pending::kListensNot;
  }
}

void finish_listen(bool has_committed) {
  set_care(kPendingListen, false);
  if (pending == Pending::kNothing) return;
  if (has_committed) {
    if (pending != Pending::kUnknown) my_slot->backend.publish_listens(pending == Pending::kListens);
    set_care(kListeningUnsure, true);
  }
  pending = Pending::kNothing;
}

void ask_if_listening() {
  // In an aborted block, the server's functions must not be called.
  if (my_slot == nullptr || !IsTransactionState()) return;
  set_care(kListeningUnsure, false);
  my_slot->backend.publish_listens(is_listening_now());
}

}  // namespace pgleak
