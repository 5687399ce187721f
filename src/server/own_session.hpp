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

// The generation of the block this backend is in: of the running transaction, or of the one whose aborted
// block it still is in. Only inside a transaction block.
Generation own_block_generation();

}  // namespace pgleak

#endif
