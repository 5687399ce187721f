#include "core/xid_clock.hpp"

#include "core/assert.hpp"

namespace pgleak {

const XidSample& XidClock::nth_newest(const Level& level, int n) {
  return level.samples[(level.added - 1 - static_cast<std::uint64_t>(n)) % kSamples];
}

// The oldest sample of the level at which `xid` had been assigned; nullptr if there is none.
const XidSample* XidClock::oldest_after(const Level& level, std::uint64_t xid) {
  int known = 0;  // number of the newest samples that are certainly later than the assignment
  int unknown = level.added < kSamples ? static_cast<int>(level.added) : kSamples;
  while (known < unknown) {
    const int middle = known + (unknown - known) / 2;
    if (nth_newest(level, middle).next_xid > xid)
      known = middle + 1;
    else
      unknown = middle;
  }
  return known == 0 ? nullptr : &nth_newest(level, known - 1);
}

bool XidClock::is_due(MonotonicTime now) const {
  return levels_[0].added == 0 || now - nth_newest(levels_[0], 0).at >= kSecond;
}

void XidClock::add(XidSample sample) {
  Micros apart = kSecond;
  for (Level& level : levels_) {
    PGLEAK_ASSERT(level.added == 0 || sample.next_xid >= nth_newest(level, 0).next_xid);
    if (level.added == 0 || sample.at - nth_newest(level, 0).at >= apart)
      level.samples[level.added++ % kSamples] = sample;
    apart *= 2;
  }
}

std::optional<Micros> XidClock::age_of(std::uint64_t xid, XidSample now) const {
  if (xid >= now.next_xid) return std::nullopt;
  Micros age{0};
  for (const Level& level : levels_) {
    const XidSample* const sample = oldest_after(level, xid);
    if (sample != nullptr && now.at - sample->at > age) age = now.at - sample->at;
  }
  return age;
}

}  // namespace pgleak
