// Owns: the slot of this backend, and in which transaction block the backend is.
// Set by the guest once, read by what runs inside the client backend. Never ereports.
// Owns: the names a client gave when it logged in. Called by the guest.
// Owns: the target's side of an action: being woken in the client read, deciding whether it is safe to act
// there, and rolling the transaction back in place or ending the connection with a reason. Runs inside client
// backends, called by the server while it handles cache invalidation messages. Must never act unless every
// gate in may_act() holds, and never raise an ERROR: in the client read the server turns one into FATAL.
// Owns: the guard that makes COMMIT fail loudly after a transaction was rolled back in place.
// Called by the hook at utility statements, inside client backends.
// Owns: the hooks at a client's statements: what the server runs on its way into the executor and into
// utility statements. They keep the session's trail (core/trail.hpp) and call the guard of COMMIT. Runs
// inside client backends at every statement. Must never allocate, block, or ereport but for the guard.
#ifndef PGLEAK_BACKEND_BACKEND_HPP
#define PGLEAK_BACKEND_BACKEND_HPP

#include "core/episode.hpp"
#include "core/session.hpp"
#include "core/time.hpp"
#include "pg/postgres.hpp"
#include "shmem/action_request.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "nodes/plannodes.h"
}

namespace pgleak {

// This backend's slot; nullptr in every process that is not a client session.
extern SessionSlot* my_slot;

// Its trail; nullptr there too, and if none is kept.
extern Trail* my_trail;

// Whether this backend is in a block whose transaction is over, not only a subtransaction of it.
bool is_in_aborted_block();

// The xact_seq of the block this backend is in: of the running transaction, or of the one whose aborted
// block it still is in. Only inside a transaction block. Called for every statement, so here.
inline XactSeq my_block_seq() {
  Assert(my_slot != nullptr);
  const TransactionReport report = my_slot->backend.report();
  // Nothing but a rollback leaves an aborted block behind.
  const bool is_over = report.last_end == TransactionEnd::kRolledBack && is_in_aborted_block();
  return is_over ? report.ended_count - 1 : report.ended_count;
}

// Copies the database and role of this client backend's login, without touching a catalog. Only with
// a client connected (MyProcPort is set). Never ereports.
void copy_login_names(char (&database)[kNameSize], char (&role)[kNameSize]);

// True if the role of the login is a superuser. Never ereports.
bool is_login_superuser();

// From _PG_init, while the server preloads libraries.
void install_in_place();

// What was rolled back in place, if this backend is still in the aborted block that this has left; else
// nullptr.
struct CancelledBlock {
  XactSeq xact_seq;
  WallTime at;
  ActionReason reason;
};
const CancelledBlock* current_cancelled_block();

// Whether this backend ever had a transaction rolled back in place: no other can be in such a block.
extern bool has_cancelled_block;

// --- active_action.cpp: being signalled while active ---

// Makes this session's SIGINT handler check what the scanner's signals are meant for. Once per session.
void install_signal_handler();

// The transaction begins to commit or to be prepared: from here on it is let go. Withdraws a cancel that came
// too late.
void begin_transaction_end();

// The transaction has ended. Withdraws a cancel that the server has not acted on, before the next transaction
// begins. Returns the nonce of the request that rolled it back, or 0.
std::uint32_t finish_transaction_end(bool has_rolled_back);

// Notes that the request with this nonce has rolled back the transaction `xact_seq`; see
// current_cancelled_block().
void note_cancelled_block(std::uint32_t nonce, XactSeq xact_seq);

// If `statement`, a utility statement of the client's, would commit what was rolled back in place: ends the
// block and raises an ERROR.
void guard_commit(const PlannedStmt* statement);

// From _PG_init, while the server preloads libraries, after the settings are defined.
void install_statement_hooks();

}  // namespace pgleak

#endif
