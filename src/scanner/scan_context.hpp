// Owns: what one look of the scanner at all sessions needs to know. Shared by scanner, episodes and actions.
#ifndef PGLEAK_SCANNER_SCAN_CONTEXT_HPP
#define PGLEAK_SCANNER_SCAN_CONTEXT_HPP

#include "core/detection.hpp"
#include "core/limits.hpp"
#include "core/time.hpp"
#include "core/time_budget.hpp"
#include "pg/clock.hpp"

namespace pgleak {

// What one look needs to know, read once at its beginning.
struct ScanContext {
  Now now;
  LimitValues server_limits;
  bool watches_transactions;  // look at active sessions too
  PreviousScan previous;
  Micros next_due_in;  // in and out: the earliest moment at which something will be due
  TimeBudget records;  // opening and closing episodes
  TimeBudget actions;  // beginning actions that limits demand; a kind of its own, as those must not wait

  bool has_deferred() const { return records.has_deferred() || actions.has_deferred(); }
};

// Runs work() on the session of slot `index` if `budget` allows it; else the next look will.
template <typename Work>
void do_within(TimeBudget* budget, int index, Work work) {
  if (!budget->allows(index)) return;
  const MonotonicTime began = monotonic_now();
  work();
  budget->spend(monotonic_now() - began);
}

}  // namespace pgleak

#endif
