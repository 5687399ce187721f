// Tells whether it is worth checking for changes, given only a counter that every change increments.
//
// The recorder asks it about tables and catalogs. Reads no clock, allocates nothing, never ereports.
#ifndef PGLEAK_CORE_CHANGE_WATCH_HPP
#define PGLEAK_CORE_CHANGE_WATCH_HPP

#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// Zero-initialized means that nothing has been checked yet.
class ChangeWatch {
 public:
  // Call it before each check; returns false if there is nothing new to find. A rise of `count` returns true
  // for two calls, because a change may become visible a moment after it was counted. It also returns true
  // once a minute, in case that moment was longer than the time between two calls.
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
