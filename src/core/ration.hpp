// Owns: the time that one look may spend on a kind of work that takes long, such as writing lines into the
// log. Called by the scanner for each piece of such work. Must never read a clock or allocate. Never
// ereports.
#ifndef PGLEAK_CORE_RATION_HPP
#define PGLEAK_CORE_RATION_HPP

#include "core/time.hpp"

namespace pgleak {

// When a thousand sessions leak at once, or are gone at once, one look does as much of the work as there is
// time for, and the next look, which begins at once, goes on: meanwhile everything else that the scanner has
// to do is done. Only the work itself counts, so each look does at least one piece, however slow the machine
// is, and work that turns out to be none uses nothing up. Zero-initialised for each look.
class Ration {
 public:
  // True if there is time for a piece of work on the session of slot `index`; else that is left undone.
  bool allows(int index) {
    if (spent_ < kTime) return true;
    if (!has_left_work_) first_left_ = index;
    has_left_work_ = true;
    return false;
  }

  // Says how long a piece has taken.
  void spend(Micros duration) { spent_ += duration; }

  bool has_left_work() const { return has_left_work_; }
  // The slot that the next look has to go on with. Only if has_left_work().
  int first_left() const { return first_left_; }

  static constexpr Micros kTime = 2 * kMillisecond;

 private:
  Micros spent_;
  bool has_left_work_;
  int first_left_;
};

}  // namespace pgleak

#endif
