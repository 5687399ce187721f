// Owns: the slot of this backend, and in which transaction block the backend is.
// Set by the guest once, read by what runs inside the client backend. Never ereports.
#ifndef PGLEAK_SERVER_OWN_SESSION_HPP
#define PGLEAK_SERVER_OWN_SESSION_HPP

#include "core/session.hpp"
#include "server/shared_memory.hpp"

namespace pgleak {

// This backend's slot; nullptr in every process that is not a client session.
extern SessionSlot* own_session;

// Its trail; nullptr there too, and if none is kept.
extern Trail* own_trail;

// Whether this backend is in a block whose transaction is over, not only a subtransaction of it.
bool is_in_aborted_block();

// The generation of the block this backend is in: of the running transaction, or of the one whose aborted
// block it still is in. Only inside a transaction block. Called for every statement, so here.
inline Generation own_block_generation() {
  const TransactionReport report = own_session->guest.report();
  // Nothing but a rollback leaves an aborted block behind.
  const bool is_over = report.last_end == TransactionEnd::kRolledBack && is_in_aborted_block();
  return is_over ? report.ended_count - 1 : report.ended_count;
}

}  // namespace pgleak

#endif
