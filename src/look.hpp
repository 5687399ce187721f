// Owns: what one look of the scanner at all sessions needs to know. Shared by scanner, episodes and actions.
#ifndef PGLEAK_LOOK_HPP
#define PGLEAK_LOOK_HPP

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "core/time.hpp"

namespace pgleak {

// What one look needs to know, read once at its beginning.
struct Look {
  Now now;
  LimitValues server_limits;
  bool watches_transactions;  // look at active sessions too
  PreviousLook previous;
  Micros next_due_in;  // in and out: the earliest moment at which something will be due
};

}  // namespace pgleak

#endif
