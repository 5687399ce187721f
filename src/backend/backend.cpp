// Claims the backend's slot when the session starts, publishes the session's own limits, and publishes how
// each transaction ended.
//
// The server calls this at the end of every transaction and when a setting changes. It must never ereport,
// allocate, block, or write to the client: an error here would break the user's COMMIT.

#include "backend/backend.hpp"

#include <cstdint>

#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "pgleak.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "storage/ipc.h"
}

namespace pgleak {

namespace {

// What PREPARE TRANSACTION calls the running transaction; empty: it was not asked for.
char prepared_gid[kGidSize];

void note_transaction_limits(const LimitValues& own) {
  if (uses_transaction_clock(own)) shared->own_transaction_limits.store(true, std::memory_order_relaxed);
}

void publish_limits() {
  if (my_slot == nullptr) return;
  const LimitValues own = own_limits();
  my_slot->backend.publish_limits(own, own_action_min_impact());
  note_transaction_limits(own);
}

// Only client sessions take part; walsenders, background workers and single-user mode do not.
bool is_client_session() {
  return shared != nullptr && MyBackendType == B_BACKEND && IsUnderPostmaster && MyProcPort != nullptr &&
         MyProc != nullptr && MyBEEntry != nullptr;
}

void take_slot() {
  Assert(my_slot == nullptr);
  const int index = compat::my_status_index();
  if (index < 0 || index >= shared->slot_count) return;

  BackendOwner owner{};
  owner.session = SessionId{MyProcPid, from_timestamp(MyStartTimestamp)};
  owner.proc_index = compat::my_proc_index();
  owner.encoding = GetDatabaseEncoding();
  owner.is_superuser = is_login_superuser();
  copy_login_names(owner.database, owner.role);

  const LimitValues own = own_limits();
  session_slot(index).backend.claim(owner, own, own_action_min_impact());
  ClientSocket socket{};
  socket.session = owner.session;
  describe_my_socket(&socket);
  session_slot(index).backend.publish_socket(socket);
  note_transaction_limits(own);
  my_slot = &session_slot(index);
  claim_idle_times(index);
  my_trail = trail_of(index);
  install_signal_handler();
}

// True if nothing but the end itself is to be published.
bool is_plain_commit(TransactionEnd how) {
  return how == TransactionEnd::kCommitted && my_slot != nullptr && my_care == 0 && !proc_exit_inprogress &&
         !active_action.is_touched && count_idle_time();
}

[[gnu::noinline]] void publish_end_with_care(TransactionEnd how) {
  // The first transaction to end is the one in which the server sets the session up. By then the settings of
  // the role and the database are in force.
  if (my_slot == nullptr) {
    if (how == TransactionEnd::kCommitted && is_client_session()) take_slot();
    return;
  }
  Assert(MyBackendType == B_BACKEND);
  // A transaction that ends while the backend exits was not ended by the client: the server rolls the open
  // one back, then runs its own to drop temporary tables.
  if (proc_exit_inprogress) how = TransactionEnd::kDisconnected;
  // What came before COMMIT, or before a statement that failed before it started.
  if (!count_idle_time()) count_idle_time_with_care();
  set_care(kAfterRollback, how == TransactionEnd::kRolledBack);
  const XactSeq xact_seq = my_slot->backend.report().ended_count;
  const ActionReason* const cancelled = finish_transaction_end(how == TransactionEnd::kRolledBack);
  if (cancelled != nullptr) {
    note_cancelled_block(*cancelled, xact_seq);
    queue_notice(*cancelled);  // after the error, which the server has sent before it aborts
  }
  if (how == TransactionEnd::kRolledBack)
    my_slot->backend.publish_debris(false);  // an error has ended the command
  if (how == TransactionEnd::kPrepared)
    publish_prepared(static_cast<int>(my_slot - session_slots), xact_seq, my_slot->backend.watched(),
                     GetTopTransactionIdIfAny(), prepared_gid);
  prepared_gid[0] = '\0';
  set_care(kPreparedGid, false);
  forget_exported();
  finish_listen(how == TransactionEnd::kCommitted);
  // Only an aborted block needs the start of its transaction; see current_block().
  my_slot->backend.publish_end(how, how == TransactionEnd::kRolledBack
                                        ? from_timestamp(GetCurrentTransactionStartTimestamp())
                                        : WallTime::none());
}

void publish_end(TransactionEnd how) {
  if (!is_plain_commit(how)) return publish_end_with_care(how);
  active_action.is_ending = false;
  my_slot->backend.publish_end(how, WallTime::none());
}

// The usual ones first.
void on_transaction_event(XactEvent event, void*) {
  if (event == XACT_EVENT_COMMIT) return publish_end(TransactionEnd::kCommitted);
  if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) {
    // Before the slot is claimed there is no handler, and nothing to withdraw.
    if (my_slot != nullptr) begin_transaction_end();
  } else if (event == XACT_EVENT_PREPARE) {
    publish_end(TransactionEnd::kPrepared);
  } else if (event == XACT_EVENT_ABORT) {
    publish_end(TransactionEnd::kRolledBack);
  }
}

}  // namespace

void note_prepare(const char* gid) {
  copy_gid(prepared_gid, gid);
  set_care(kPreparedGid, true);
}

void install_backend() {
  RegisterXactCallback(on_transaction_event, nullptr);
  on_limit_change(publish_limits);
  on_tags_change(note_tag_setting);
  note_tag_setting(settings.tags);
  install_in_place();
  install_statement_hooks();
}

}  // namespace pgleak
