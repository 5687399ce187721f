// The time that one scan may spend on one kind of expensive work, such as writing log lines.
//
// Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_TIME_BUDGET_HPP
#define PGLEAK_CORE_TIME_BUDGET_HPP

#include "core/time.hpp"

namespace pgleak {

// When a thousand sessions leak or end together, one scan does as much of the work as its budget allows and
// defers the rest to the next scan, which starts immediately. In between, the scanner does everything else it
// has to do. Only the work itself is charged, so each scan completes at least one piece, however slow the
// machine is, and work that turns out to be unnecessary costs nothing. Zero-initialize it for each scan.
class TimeBudget {
 public:
  // True if there is time for a piece of work on the session of slot `index`. Otherwise that slot is
  // deferred.
  bool allows(int index) {
    if (spent_ < kTime) return true;
    if (!has_deferred_) first_deferred_ = index;
    has_deferred_ = true;
    return false;
  }

  // Charges the time that a piece has taken.
  void spend(Micros duration) { spent_ += duration; }

  bool has_deferred() const { return has_deferred_; }
  // The slot at which the next scan has to continue. Only if has_deferred().
  int first_deferred() const { return first_deferred_; }

  static constexpr Micros kTime = 2 * kMillisecond;

 private:
  Micros spent_;
  bool has_deferred_;
  int first_deferred_;
};

}  // namespace pgleak

#endif
