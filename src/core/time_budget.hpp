// Owns: the time that one look may spend on a kind of work that takes long, such as writing lines into the
// log. Called by the scanner for each piece of such work. Must never read a clock or allocate. Never
// ereports.
#ifndef PGLEAK_CORE_TIME_BUDGET_HPP
#define PGLEAK_CORE_TIME_BUDGET_HPP

#include "core/time.hpp"

namespace pgleak {

// When a thousand sessions leak at once, or are gone at once, one look does as much of the work as there is
// time for, and the next look, which begins at once, goes on: meanwhile everything else that the scanner has
// to do is done. Only the work itself counts, so each look does at least one piece, however slow the machine
// is, and work that turns out to be none uses nothing up. Zero-initialised for each scan.
class TimeBudget {
 public:
  // True if there is time for a piece of work on the session of slot `index`; else that is left undone.
  bool allows(int index) {
    if (spent_ < kTime) return true;
    if (!has_deferred_) first_deferred_ = index;
    has_deferred_ = true;
    return false;
  }

  // Says how long a piece has taken.
  void spend(Micros duration) { spent_ += duration; }

  bool has_deferred() const { return has_deferred_; }
  // The slot that the next look has to go on with. Only if has_deferred().
  int first_deferred() const { return first_deferred_; }

  static constexpr Micros kTime = 2 * kMillisecond;

 private:
  Micros spent_;
  bool has_deferred_;
  int first_deferred_;
};

}  // namespace pgleak

#endif
