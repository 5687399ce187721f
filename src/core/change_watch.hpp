// Owns: when it is worth the while to look for changes, of which nothing is known but a count that each of
// them raises. Asked by the recorder about its tables and catalogs. Must never allocate or know the server.
// Never ereports.
#ifndef PGLEAK_CORE_CHANGE_WATCH_HPP
#define PGLEAK_CORE_CHANGE_WATCH_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// Zero-initialised: has not looked yet.
class ChangeWatch {
 public:
  // To be asked each time before looking; false if there is nothing new to be found. True for two calls when
  // `count` has risen, for what has raised it may tell of itself a moment later only; and once a minute,
  // should that moment have been longer than the time between two calls.
  bool may_have_changed(std::uint64_t count, MonotonicTime now) {
    const bool has_risen = count != count_ || now >= certain_until_;
    const bool may_differ = has_risen || is_second_call_;
    is_second_call_ = has_risen;
    count_ = count;
    if (may_differ) certain_until_ = now + kLongestRest;
    return may_differ;
  }

 private:
  static constexpr Micros kLongestRest = 60 * kSecond;

  std::uint64_t count_;
  bool is_second_call_;
  MonotonicTime certain_until_;
};

}  // namespace pgleak

#endif
