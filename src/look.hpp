// Owns: what one look of the scanner at all sessions needs to know. Shared by scanner, episodes and actions.
#ifndef PGLEAK_LOOK_HPP
#define PGLEAK_LOOK_HPP

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "core/ration.hpp"
#include "core/time.hpp"
#include "server/clock.hpp"

namespace pgleak {

// What one look needs to know, read once at its beginning.
struct Look {
  Now now;
  LimitValues server_limits;
  bool watches_transactions;  // look at active sessions too
  PreviousLook previous;
  Micros next_due_in;  // in and out: the earliest moment at which something will be due
  Ration records;      // opening and closing episodes
  Ration actions;      // beginning actions that limits demand; a kind of its own, as those must not wait

  bool has_left_work() const { return records.has_left_work() || actions.has_left_work(); }
};

// Runs work() on the session of slot `index` if `ration` allows it; else the next look will.
template <typename Work>
void do_within(Ration* ration, int index, Work work) {
  if (!ration->allows(index)) return;
  const MonotonicTime began = monotonic_now();
  work();
  ration->spend(monotonic_now() - began);
}

}  // namespace pgleak

#endif
