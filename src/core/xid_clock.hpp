// When transaction ids were assigned: samples of the next id over time, which no server keeps.
//
// The scanner adds samples; pgleak.read_horizon() looks ids up. Lives in shared memory. Allocates nothing,
// never ereports.
#ifndef PGLEAK_CORE_XID_CLOCK_HPP
#define PGLEAK_CORE_XID_CLOCK_HPP

#include <cstdint>
#include <optional>

#include "core/time.hpp"

namespace pgleak {

// The next transaction id that the server would assign at `at`. Ids below it had been assigned by then. 64
// bits wide, so it does not wrap around.
struct XidSample {
  MonotonicTime at;
  std::uint64_t next_xid;
};

// The 64-bit form of an id that is assigned already, or will be next.
constexpr std::uint64_t widen_xid(std::uint32_t xid, std::uint64_t next_xid) {
  const std::int32_t behind = static_cast<std::int32_t>(static_cast<std::uint32_t>(next_xid) - xid);
  return next_xid - static_cast<std::uint64_t>(static_cast<std::int64_t>(behind));
}

// Level n keeps the newest 64 samples that are at least 2^n seconds apart. So the age of an id that was
// assigned within the last 47 days is known to within a second or a thirtieth of itself, whichever is
// longer. Zero-initialized means that there is no sample yet.
class XidClock {
 public:
  bool is_due(MonotonicTime now) const;

  // Adds a sample, which must not be older than the one before.
  void add(XidSample sample);

  // Returns for how long `xid` has been assigned, at least; nothing if it is not assigned as of `now`. Of an
  // id that is older than all samples it is the age of the oldest sample.
  std::optional<Micros> age_of(std::uint64_t xid, XidSample now) const;

 private:
  static constexpr int kLevels = 17;
  static constexpr int kSamples = 64;

  struct Level {
    std::uint64_t added;  // the next one takes place added % kSamples
    XidSample samples[kSamples];
  };

  static const XidSample& nth_newest(const Level& level, int n);
  static const XidSample* oldest_after(const Level& level, std::uint64_t xid);

  Level levels_[kLevels];
};

}  // namespace pgleak

#endif
