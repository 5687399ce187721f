#include "backend/backend.hpp"
#include "core/action.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/libpq.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/sinval.h"
#include "utils/backend_status.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
}

namespace pgleak {

namespace {

// Set while this backend acts, because the abort itself may handle more messages.
bool is_acting = false;

MessageGate gate;

CancelledBlock cancelled_block;

bool is_idle_state(BackendState state) {
  return state == STATE_IDLEINTRANSACTION || state == STATE_IDLEINTRANSACTION_ABORTED;
}

// Only a terminate reaches a session outside of a transaction: the message is handled in one of the server's
// own then.
bool is_where_it_was_judged(const ActionRequest& request) {
  if (IsTransactionBlock()) return is_idle_state(MyBEEntry->st_state) && my_block_seq() == request.xact_seq;
  return request.action == Action::kTerminate && MyBEEntry->st_state == STATE_IDLE &&
         my_slot->backend.report().ended_count == request.xact_seq;
}

// Every condition for acting here: it is still this transaction, idle between two commands, and nothing in
// this backend relies on not being interrupted.
bool may_act(const ActionRequest& request) {
  return !is_acting && request.session == SessionId{MyProcPid, from_timestamp(MyStartTimestamp)} &&
         monotonic_now() <= request.expires_at && MyBackendType == B_BACKEND && pq_is_reading_msg() &&
         is_where_it_was_judged(request) &&
         from_timestamp(MyBEEntry->st_state_start_timestamp) == request.state_start &&
         InterruptHoldoffCount == 0 && CritSectionCount == 0 && MyReplicationSlot == nullptr;
}

// An error in the middle of the abort leaves no state in which the session could continue.
[[noreturn]] void end_after_failure(MemoryContext context) {
  HOLD_INTERRUPTS();
  MemoryContextSwitchTo(context);
  ErrorData* error = CopyErrorData();
  FlushErrorState();
  RESUME_INTERRUPTS();
  ereport(FATAL,
          (errcode(ERRCODE_TRANSACTION_ROLLBACK),
           errmsg("terminating connection because pgleak could not roll back the transaction in place"),
           errdetail_internal("%s", error->message != nullptr ? error->message : "")));
  pg_unreachable();
}

void abort_transaction() {
  MemoryContext context = CurrentMemoryContext;
  PG_TRY();
  {
    // AbortCurrentTransaction() alone would abort only the innermost subtransaction.
    while (GetCurrentTransactionNestLevel() > 1) RollbackAndReleaseCurrentSubTransaction();
    AbortCurrentTransaction();
  }
  PG_CATCH();
  { end_after_failure(context); }
  PG_END_TRY();
  Assert(IsAbortedTransactionBlockState());
  // The client read continues in its old memory context. Its resource owner is gone, so that is not restored.
  MemoryContextSwitchTo(context);
}

void roll_back_in_place(const ActionRequest& request) {
  Assert(is_acting && IsTransactionBlock() && InterruptHoldoffCount == 0 && CritSectionCount == 0);
  cancelled_block = CancelledBlock{request.xact_seq, wall_now(), request.reason};
  abort_transaction();
  // A snapshot that the whole transaction shares stays registered until the block ends, and would hold the
  // xmin horizon.
  MyProc->xmin = InvalidTransactionId;
  set_care(kCancelledBlock, true);
  set_ps_display("idle in transaction (aborted)");
  pgstat_report_activity(STATE_IDLEINTRANSACTION_ABORTED, nullptr);
  my_slot->action.aborted_at.store(from_timestamp(MyBEEntry->st_state_start_timestamp),
                                   std::memory_order_relaxed);

  char why[kReasonSize];
  describe_reason(request.reason, why);
  // The client would take a message that is sent now for the answer to its next statement.
  queue_notice(request.reason);
  ereport(LOG_SERVER_ONLY, (errmsg("pgleak: transaction rolled back in place: %s", why)));
}

// Names what demanded it: a setting, a rule, or nobody but the one who asked.
int hint_limit(const ActionReason& reason) {
  switch (reason.source.kind) {
    case LimitSource::kManual:
      return 0;
    case LimitSource::kRule:
      return errhint(
          "End transactions and return connections to the pool sooner, or raise the limit in rule %d of "
          "pgleak.rules.",
          reason.source.rule_id);
    default:
      return errhint("End transactions and return connections to the pool sooner, or raise \"%s\".",
                     limit_setting_name(limit_index(reason.clock, LimitKind::kTerminate)));
  }
}

[[noreturn]] void end_connection(const ActionReason& reason) {
  char why[kReasonSize];
  describe_reason(reason, why);
  // FATAL never returns, so this does not depend on the stack being unwound; the server ends any backend this
  // way.
  ereport(FATAL, (errcode(ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT),
                  errmsg("terminating connection due to pgleak: %s", why), hint_limit(reason)));
  pg_unreachable();
}

void act_on(const ActionRequest& request) {
  ActionSlot& slot = my_slot->action;
  if (spares(request.spares_exported) || !may_act(request)) {
    slot.reply(request.nonce, Reply::kRefused);
    return;
  }
  if (request.action == Action::kTerminate) {
    is_acting = true;
    slot.reply(request.nonce, Reply::kActing);
    end_connection(request.reason);
  }

  if (!gate.is_open(request.probed)) {
    gate.note_probe(request.nonce);
    slot.reply(request.nonce, Reply::kProbed);
    return;
  }
  is_acting = true;
  slot.reply(request.nonce, Reply::kActing);
  roll_back_in_place(request);
  is_acting = false;
  slot.reply(request.nonce, Reply::kDone);
}

void on_message(Datum, compat::SyscacheId, uint32 hash) {
  if (my_slot == nullptr || hash == 0) return;     // 0: the whole cache is reset
  gate.note_message(SharedInvalidMessageCounter);  // the counter includes this message
  ActionRequest request;
  if (!my_slot->action.request.read(&request) || request.nonce != hash) return;
  act_on(request);
  wake_worker(shared->scanner_proc);
}

}  // namespace

void install_in_place() {
  // Languages hardly ever change, and nothing expensive in the server listens for their invalidation, which
  // makes them a quiet channel for our messages.
  CacheRegisterSyscacheCallback(LANGNAME, on_message, Datum{0});
}

void note_cancelled_block(const ActionReason& reason, XactSeq xact_seq) {
  cancelled_block = CancelledBlock{xact_seq, from_timestamp(GetCurrentTimestamp()), reason};
  set_care(kCancelledBlock, true);
}

const CancelledBlock* current_cancelled_block() {
  if (!has_care(kCancelledBlock) || my_slot == nullptr) return nullptr;
  if (!IsAbortedTransactionBlockState() || my_block_seq() != cancelled_block.xact_seq) return nullptr;
  return &cancelled_block;
}

}  // namespace pgleak
