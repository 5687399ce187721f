// The code that runs inside every client backend: its slot, the statement hooks, the rollback in place, and
// the commit guard.
//
// It runs in somebody's production session, at every statement and every transaction end, so it must never
// allocate, block, or write to the client. It raises errors in two places only, both listed with their reason
// in test/layering.backend: the commit guard refuses a COMMIT with an ERROR, and an action that ends the
// connection, or a rollback in place that failed, raises FATAL. Only listening.cpp allocates, for the first
// statement after a LISTEN or UNLISTEN, in that statement's own memory.
#ifndef PGLEAK_BACKEND_BACKEND_HPP
#define PGLEAK_BACKEND_BACKEND_HPP

#include <csignal>

#include "core/episode.hpp"
#include "core/idle_times.hpp"
#include "core/session.hpp"
#include "core/tag_text.hpp"
#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "pg/settings.hpp"
#include "shmem/action_request.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "nodes/plannodes.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
}

// Hidden, because every statement reads these variables: without a detour over the table of exported symbols.
#pragma GCC visibility push(hidden)

namespace pgleak {

// --- my_slot.cpp: the slot of this backend, its login names, and its transaction block ---

// This backend's slot; nullptr in every process that is not a client session.
extern SessionSlot* my_slot;

// This backend's trail; nullptr in every other process, and if pgleak.trail_size is 0.
extern Trail* my_trail;

// What earlier statements and transactions have left, so that the next one needs more than the usual. One
// word, because nearly always there is nothing, and every statement asks.
enum Care : std::uint32_t {
  kCancelledBlock = 1,   // a transaction of this session was rolled back in place; never ends
  kListeningUnsure = 2,  // LISTEN or UNLISTEN has been committed, and the server was not asked what it left
  kPendingListen = 4,    // LISTEN, UNLISTEN or DISCARD has run in this transaction
  kPreparedGid = 8,      // the client has asked to prepare the transaction
  kAfterRollback = 16,   // the last transaction was rolled back, and may have left an aborted block
  kTagSetting = 32,      // pgleak.tags is not empty
};
extern std::uint32_t my_care;  // of Care; not for signal handlers
inline void set_care(Care care, bool is_needed) {
  my_care = is_needed ? my_care | care : my_care & ~std::uint32_t{care};
}
inline bool has_care(Care care) { return (my_care & care) != 0; }

// True if the whole transaction of this block has failed, not just a subtransaction of it. Never ereports.
bool is_in_aborted_block();

// The xact_seq of this backend's block: that of the running transaction or, in an aborted block, that of
// the transaction that failed. Call it only inside a transaction block. Inline because every statement
// calls it. Never ereports.
inline XactSeq my_block_seq() {
  Assert(my_slot != nullptr);
  const TransactionReport report = my_slot->backend.report();
  // Only a rollback leaves an aborted block behind.
  const bool is_over = report.last_end == TransactionEnd::kRolledBack && is_in_aborted_block();
  return is_over ? report.ended_count - 1 : report.ended_count;
}

// Copies the database and role names of this backend's login, each with a NUL, without reading a catalog.
// Needs MyProcPort, that is, a connected client. Never ereports.
void copy_login_names(char (&database)[kNameSize], char (&role)[kNameSize]);

// Describes the connection of this backend to its client. Needs MyProcPort. Never ereports.
void describe_my_socket(ClientSocket* socket);

// True if an action that `spares_exported` must not touch the running transaction; publishes why. Safe in a
// signal handler.
bool spares(bool spares_exported);

// Call when a transaction has ended: what it exported is gone.
void forget_exported();

// --- listening.cpp: whether this session LISTENs, and so holds the tail of the notification queue ---

// Call when LISTEN, UNLISTEN or DISCARD has run. Never ereports.
void note_listen(const Node* statement);

// Call when a transaction has ended. Never ereports.
void finish_listen(bool has_committed);

// Asks the server and publishes the answer; call when a statement starts. May ereport if out of memory.
void ask_if_listening();

// True if the login role is a superuser. Never ereports.
bool is_login_superuser();

// --- idle_times.cpp: how long this session is idle in its transaction between two statements ---
//
// The server itself measures this time and adds it up, in pgStatTransactionIdleTime, when the client's next
// message arrives. So this reads no clock: when a statement starts and the sum has grown, it counts the
// difference, in this backend's own slot. Messages that start no statement, such as Parse, are part of the
// time between two.

struct MyIdleTimes {
  // The server's sum; while nothing is to be counted, because there is no slot yet or idle times are not
  // tracked, `counted` itself.
  const PgStat_Counter* sum;
  PgStat_Counter counted;  // of the sum
  IdleBank* bank;
  // Where the server has the application_name that `bank` is for; nullptr: unknown. The server allocates
  // each new name, perhaps where an earlier one was, so every SET and RESET sets this to nullptr.
  const char* name;
};
extern MyIdleTimes my_idle_times;

// Call when slot `index` has been claimed. Never ereports.
void claim_idle_times(int index);

// Call when application_name may change. Never ereports.
inline void forget_my_pool() { my_idle_times.name = nullptr; }

// Counts what the sum has grown by, in any case. Never ereports.
[[gnu::noinline]] void count_idle_time_with_care();

// True if there is nothing to count. The server starts from zero after it has reported the sum, which it
// does outside of transactions only, so that a BEGIN sees it.
[[gnu::always_inline]] inline bool has_no_idle_time() { return *my_idle_times.sum == my_idle_times.counted; }

// Call when a statement starts, also one that begins a transaction, and when a transaction ends. Returns
// false, and counts nothing, if count_idle_time_with_care() is needed; only that one makes calls. Never
// ereports.
[[gnu::always_inline]] inline bool count_idle_time() {
  const PgStat_Counter sum = *my_idle_times.sum;
  const PgStat_Counter idle = sum - my_idle_times.counted;
  if (idle == 0) return true;
  if (idle < 0 || my_idle_times.name != application_name) return false;
  my_idle_times.counted = sum;
  my_idle_times.bank->add(Micros{idle});
  return true;
}

// --- tags.cpp: the tags of the client's statements and of pgleak.tags ---
//
// The client's message is read when the first of its statements starts, before anything that this calls, so
// the statements of functions are never mistaken for the client's.

// Publishes what the client's message of `length` bytes says, once for each transaction. Never ereports.
[[gnu::noinline]] void publish_tags(const char* message, std::size_t length);

// Publishes a new value of pgleak.tags, which becomes part of the running transaction's tags. Never
// ereports.
void note_tag_setting(const char* value);

// The client's message; nullptr if there is none.
struct Message {
  const char* text;
  std::size_t length;  // bytes
};

// Call when a statement starts that does not end a transaction. Returns its message. Never ereports.
inline Message note_tags() {
  const char* const text = debug_query_string;
  if (text == nullptr) return Message{nullptr, 0};
  const std::size_t length = strlen(text);
  if (may_have_tags(text, length) || has_care(kTagSetting)) publish_tags(text, length);
  return Message{text, length};
}

// True if the client's message, which begins a transaction, is nothing but BEGIN. Any such message is as
// long as
// that word. Compares in two words, because a call would make the hook save its arguments.
[[gnu::always_inline]] inline bool is_bare_begin() {
  const char* const text = debug_query_string;
  if (text == nullptr) return false;
  std::uint32_t first;
  std::uint32_t begin;
  memcpy(&first, text, sizeof(first));
  memcpy(&begin, "begi", sizeof(begin));
  constexpr std::uint32_t kLowerCase = 0x20202020;  // the bits that tell small letters from capital ones
  return (first | kLowerCase) == begin && (text[4] | 0x20) == 'n' && text[5] == '\0';
}

// --- in_place.cpp: the target's side of an action ---
//
// An invalidation message wakes the backend in its client read, and the callback acts only if every gate in
// may_act() is open. It must never raise an ERROR: in the client read, the server turns an ERROR into
// FATAL.

// Registers the callback. Call from _PG_init, while the server preloads libraries. May ereport (too many
// callbacks).
void install_in_place();

// The transaction that was rolled back in place.
struct CancelledBlock {
  XactSeq xact_seq;
  WallTime at;
  ActionReason reason;
};

// Returns the cancelled transaction while this backend is still in the aborted block it left; otherwise
// nullptr. The result points to memory of this process. Never ereports.
const CancelledBlock* current_cancelled_block();

// --- active_action.cpp: verifies the scanner's signals in the target ---

// What the signal handler shares with the session's own code.
struct ActiveAction {
  volatile sig_atomic_t is_ending;       // the transaction has begun to commit, and has not ended
  volatile sig_atomic_t accepted_nonce;  // of the request accepted for the current transaction; 0: none
  volatile sig_atomic_t is_touched;  // a request has left something that the end of the transaction undoes
  bool is_terminate_due;             // an accepted terminate that the commit has held up is due at its end
};
extern ActiveAction active_action;

// Installs this session's SIGINT handler, which checks which transaction a signal of the scanner is meant
// for. Call once per session. Never ereports.
void install_signal_handler();

// Call when the transaction begins to commit, to be prepared, or to finish a prepared one. From then on, no
// cancel of pgleak interrupts it; one that came too late is withdrawn. Never ereports.
void begin_transaction_end();

// Call when the transaction has ended. Withdraws a cancel that the server has not processed, before the
// next transaction begins. Returns why pgleak's cancel rolled the transaction back, or nullptr if it did
// not. Never ereports.
const ActionReason* finish_transaction_end(bool has_rolled_back);

// True while an action of pgleak was accepted and has not ended the transaction. Inline because every
// statement asks.
inline bool has_accepted_cancel() { return active_action.accepted_nonce != 0; }

// True if nothing is left of earlier statements and transactions, or of an action.
[[gnu::always_inline]] inline bool needs_no_care() { return my_care == 0 && !has_accepted_cancel(); }

// Call when the next statement of the transaction starts. Forgets a cancel that is no longer pending: it
// came after the previous statement had ended, and the server ignored it. Never ereports.
void forget_ignored_cancel();

// Records that pgleak's cancel rolled back the transaction `xact_seq`, for current_cancelled_block(). Never
// ereports.
void note_cancelled_block(const ActionReason& reason, XactSeq xact_seq);

// --- notice.cpp: tells the client why ---

// Queues a NOTICE that the transaction was rolled back, to be sent with the next answer to the client. Call
// it only while the client waits for an answer, or the server for the client. Never ereports.
void queue_notice(const ActionReason& reason);

// --- commit_guard.cpp: makes COMMIT fail after a rollback in place ---

// If the client's utility statement `statement` would commit the cancelled transaction, ends the block and
// raises an ERROR.
void guard_commit(const PlannedStmt* statement);

// --- backend.cpp: publishes how transactions end ---

// Call when the client has asked to prepare the running transaction under this identifier. Never ereports.
void note_prepare(const char* gid);

// --- statement_hooks.cpp: records the trail (core/trail.hpp) and calls the commit guard ---

// Installs the hooks. Call from _PG_init, while the server preloads libraries, after define_settings().
// Never ereports.
void install_statement_hooks();

}  // namespace pgleak

#pragma GCC visibility pop

#endif
