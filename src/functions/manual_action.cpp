#include <optional>

#include "functions/functions.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/worker.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "utils/acl.h"

PG_FUNCTION_INFO_V1(pgleak_cancel_session);
PG_FUNCTION_INFO_V1(pgleak_terminate_session);
}

namespace pgleak {

namespace {

constexpr Micros kTimeout = 15 * kSecond;
constexpr long kPollMs = 100;

// The same rules as pg_signal_backend() in the server, but with errors instead of result codes.
void check_permission(Oid role, Action action) {
  const char* const what = to_string(action);
  if ((!OidIsValid(role) || superuser_arg(role)) && !superuser())
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to %s session", what),
                    errdetail("Only superusers may %s sessions of superusers.", what)));
  if (!has_privs_of_role(GetUserId(), role) && !has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to %s session", what),
                    errdetail("Only members of the session's role or of pg_signal_backend may do this.")));
}

// Returns false, with a WARNING, if there is nothing to act on.
bool makes_sense(int pid, const SessionStatus& status, Action action) {
  if (action == Action::kTerminate) return true;
  if (!current_block(status).exists || status.state == SessionState::kIdle) {
    ereport(WARNING,
            (errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
             errmsg("session with PID %d is not in a transaction", pid),
             errhint("Use pgleak.terminate(%d) to end its connection and to free what it still holds, such "
                     "as advisory locks.",
                     pid)));
    return false;
  }
  if (!status.xact_start.is_set()) {
    ereport(WARNING, (errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
                      errmsg("transaction of session with PID %d is already aborted", pid),
                      errhint("Use pgleak.terminate(%d) to end its connection and free what it still holds, "
                              "such as advisory locks.",
                              pid)));
    return false;
  }
  return true;
}

// Puts the request into the session's slot. Returns the request_id under which the answer will appear.
std::uint64_t put_request(int index, SessionId session, XactSeq xact_seq, Action action) {
  const char* const login = GetUserNameFromId(GetSessionUserId(), false);
  ManualRequest& request = session_slot(index).manual;
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  if (request.phase != ManualRequest::Phase::kFree) {
    LWLockRelease(shared->manual_lock);
    ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                    errmsg("another request for the session with PID %d is in progress", session.pid)));
  }
  const std::uint64_t request_id = ++shared->last_request_id;
  request = ManualRequest{};
  enter_phase(&request, ManualRequest::Phase::kAsked);
  request.action = action;
  request.request_id = request_id;
  request.session = session;
  request.xact_seq = xact_seq;
  request.encoding = GetDatabaseEncoding();
  strlcpy(request.by_login, login, kNameSize);
  shared->manual_requests++;
  LWLockRelease(shared->manual_lock);
  return request_id;
}

std::optional<ActionResult> find_answer(std::uint64_t request_id) {
  std::optional<ActionResult> result;
  LWLockAcquire(shared->manual_lock, LW_SHARED);
  const ManualAnswer& answer = shared->manual_answers[request_id % kManualAnswers];
  if (answer.request_id == request_id) result = answer.result;
  LWLockRelease(shared->manual_lock);
  return result;
}

// A caller that no longer waits must not leave a request behind.
void withdraw_request(int index, std::uint64_t request_id) {
  ManualRequest& request = session_slot(index).manual;
  LWLockAcquire(shared->manual_lock, LW_EXCLUSIVE);
  if (request.request_id == request_id && request.phase == ManualRequest::Phase::kAsked) {
    enter_phase(&request, ManualRequest::Phase::kFree);
    shared->manual_requests--;
  }
  LWLockRelease(shared->manual_lock);
}

ActionResult wait_for_answer(std::uint64_t request_id) {
  std::optional<ActionResult> result;
  const MonotonicTime deadline = monotonic_now() + kTimeout;
  ConditionVariablePrepareToSleep(&shared->manual_answered);
  while (!(result = find_answer(request_id)) && monotonic_now() < deadline)
    ConditionVariableTimedSleep(&shared->manual_answered, kPollMs, PG_WAIT_EXTENSION);
  ConditionVariableCancelSleep();
  if (!result)
    ereport(ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("pgleak scanner is not responding"),
             errhint("Look for \"pgleak scanner\" in pg_stat_activity.backend_type and in the server log.")));
  return *result;
}

// wait_for_answer() for a caller that may be interrupted. A separate function because PG_TRY is a setjmp,
// which a caller's local variables would not survive.
ActionResult wait_or_withdraw(int index, std::uint64_t request_id) {
  ActionResult volatile result = ActionResult::kNone;
  PG_TRY();
  { result = wait_for_answer(request_id); }
  PG_CATCH();
  {
    ConditionVariableCancelSleep();
    withdraw_request(index, request_id);
    PG_RE_THROW();
  }
  PG_END_TRY();
  return result;
}

}  // namespace

bool request_action(int pid, Action action) {
  StatusEntry entry{};
  const std::optional<int> found = find_client_backend(pid, &entry);
  if (!found) return false;
  const int index = *found;
  const bool leaves_debris = session_slot(index).backend.leaves_debris();
  const bool is_declared = session_slot(index).backend.is_declared();
  check_permission(entry.role_oid, action);
  const SessionStatus status = combine(entry, session_slot(index).backend.report());
  if (!makes_sense(pid, status, action)) return false;

  const std::uint64_t request_id = put_request(index, entry.id, current_seq(status), action);
  wake_worker(shared->scanner_proc);
  const ActionResult result = wait_or_withdraw(index, request_id);
  if (result == ActionResult::kSkipped)
    ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("session with PID %d has moved on, no action was taken", pid)));
  if (result == ActionResult::kUnsafe)
    ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("session with PID %d could not be interrupted safely, no action was taken", pid),
                      errhint("Try again, or use pgleak.terminate(%d).", pid)));
  if (had_no_effect(result))
    ereport(WARNING, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("session with PID %d did not react to the %s", pid, to_string(action)),
                      result == ActionResult::kNoEffectOnClientWait
                          ? errdetail("It waits for its client in the middle of a command.")
                          : 0,
                      errhint("Use pgleak.terminate(%d) to end its connection.", pid)));
  if (result == ActionResult::kDone && leaves_debris)
    ereport(
        WARNING,
        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
         errmsg("the command that was stopped may have left an invalid index or a detached partition"),
         errhint("Look for pg_index.indisvalid = false, or finish with ALTER TABLE ... DETACH PARTITION ... "
                 "FINALIZE.")));
  if (result == ActionResult::kDone && is_declared)
    ereport(WARNING,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("session with PID %d had declared that it is idle on purpose", pid),
             errdetail("It had set \"idle_in_transaction_session_timeout\" to 0 itself, as pg_dump does."),
             errhint("If it was part of a dump, do not rely on that dump.")));
  if (result == ActionResult::kStandby)
    ereport(WARNING,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("session with PID %d waits for a synchronous standby, nothing was done", pid),
             errdetail("Its transaction is committed; ending the wait would report it to the client before a "
                       "standby has it."),
             errhint("Bring the standby back, or change \"synchronous_standby_names\".")));
  return result == ActionResult::kDone;
}

}  // namespace pgleak

Datum pgleak_cancel_session(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  PG_RETURN_BOOL(pgleak::request_action(PG_GETARG_INT32(0), pgleak::Action::kCancel));
}

Datum pgleak_terminate_session(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  PG_RETURN_BOOL(pgleak::request_action(PG_GETARG_INT32(0), pgleak::Action::kTerminate));
}
