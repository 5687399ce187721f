// Pools over the period of the report, from their samples: what was in use, leaked and waiting, and when the
// verdict changed. Pure: lives in memory of the caller, allocates nothing, never ereports.
//
// A sample has only the pools in trouble, and those whose trouble has just ended. So there are two kinds of
// silence: a pool that a sample leaves out was fine, and a time without any sample is a gap.
#ifndef PGLEAK_CORE_REPORT_POOL_CURVE_HPP
#define PGLEAK_CORE_REPORT_POOL_CURVE_HPP

#include <cstdint>

#include "core/report_axis.hpp"
#include "core/report_curve.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr int kMostPoolCurves = 8;

// Changes that a curve keeps: the first ones, which tell how it began, and the last ones.
inline constexpr int kFirstChanges = 4;
inline constexpr int kLastChanges = 4;

// A verdict in a sample, ordered by severity. kNone: the pool was closed, or the table does not say.
enum class SampledVerdict : std::uint8_t { kNone, kOk, kLeak, kUndersized, kBlocked, kLeaking };

inline constexpr int kSampledVerdictCount = 6;

// From the name in pgleak.pool_samples.verdict, or nullptr.
SampledVerdict sampled_verdict_of(const char* name);

// The name, which is a class of the style sheet too; "no verdict" for kNone. Static memory.
const char* to_string(SampledVerdict verdict);

inline constexpr std::int32_t kNotKnown = -1;

// One pool in one sample. A number may be kNotKnown.
struct PoolPoint {
  std::int32_t size;  // open connections; of the whole server, how many it may have
  std::int32_t in_use;
  std::int32_t leaked;
  std::int32_t waiting;
  SampledVerdict verdict;
};

struct ChangedVerdict {
  WallTime at;
  SampledVerdict before;
  bool is_before_known;  // false: no sample had been taken before
  PoolPoint point;       // of the sample that has the new verdict
};

// All zeros is a curve without samples.
class PoolCurve {
 public:
  // True if a sample of the pool stands for any part of the span.
  bool has(int span) const { return spans_[span].is_known; }

  // The highest numbers and the worst verdict in the span; only if has(span).
  const PoolPoint& in(int span) const { return spans_[span].point; }

  // The highest numbers of all.
  const PoolPoint& peak() const { return peak_; }

  std::int64_t changes() const { return change_count_; }
  int kept_changes() const;
  const ChangedVerdict& change(int index) const;  // in the order of time; index < kept_changes()

 private:
  friend class PoolCurves;
  struct Span {
    bool is_known;
    PoolPoint point;
  };

  void cover(const ReportPeriod& period, WallTime until);
  void keep(const ChangedVerdict& change);

  Span spans_[kCurveSpans];
  PoolPoint peak_;
  std::int64_t last_sample_;  // number of the last sample that has the pool; 0: none yet
  bool is_standing_;          // it stands until the next sample
  WallTime last_at_;
  PoolPoint last_;
  std::int64_t change_count_;
  ChangedVerdict first_changes_[kFirstChanges];
  ChangedVerdict last_changes_[kLastChanges];  // a ring
};

// The curves of some pools. Call begin_sample() for each row in the order of time, then add() if the row is
// of one of these pools, and finish() at the end. All zeros are curves without samples.
class PoolCurves {
 public:
  // Returns false if the row has to be left out, because its time is not in the period or before that of a
  // row that came earlier. All rows of a sample have the same time.
  bool begin_sample(const ReportPeriod& period, WallTime taken_at);

  // Adds a row to a curve: the first one of the pool in this sample.
  void add(const ReportPeriod& period, int curve, const PoolPoint& point);

  void finish(const ReportPeriod& period);

  std::int64_t samples() const { return samples_; }

  // True if a sample of any pool stands for a part of the span.
  bool is_sampled(int span) const { return is_sampled_[span]; }

  const PoolCurve& curve(int index) const { return curves_[index]; }

 private:
  void end_sample(const ReportPeriod& period, WallTime until);

  PoolCurve curves_[kMostPoolCurves];
  bool is_sampled_[kCurveSpans];
  std::int64_t samples_;
  bool follows_;  // the last sample follows another one without a gap
  WallTime last_at_;
};

}  // namespace pgleak

#endif
