// Owns: the target's side of an action: being woken in the client read, deciding whether it is safe to act
// there, and rolling the transaction back in place or ending the connection with a reason. Runs inside client
// backends, called by the server while it handles cache invalidation messages. Must never act unless every
// gate in may_act() holds, and never raise an ERROR: in the client read the server turns one into FATAL.
#ifndef PGLEAK_SERVER_IN_PLACE_HPP
#define PGLEAK_SERVER_IN_PLACE_HPP

#include "core/time.hpp"
#include "server/action_request.hpp"

namespace pgleak {

// From _PG_init, while the server preloads libraries.
void install_in_place();

// What was rolled back in place, if this backend is still in the aborted block that this has left; else
// nullptr.
struct CancelledBlock {
  Generation generation;
  WallTime at;
  ActionReason reason;
};
const CancelledBlock* current_cancelled_block();

// Whether this backend ever had a transaction rolled back in place: no other can be in such a block.
extern bool has_cancelled_block;

}  // namespace pgleak

#endif
