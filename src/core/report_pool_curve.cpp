#include "core/report_pool_curve.hpp"

#include <algorithm>
#include <cstring>

namespace pgleak {

namespace {

constexpr const char* kVerdictNames[kSampledVerdictCount] = {"no verdict", "ok",      "leak",
                                                             "undersized", "blocked", "leaking"};

void raise_to(PoolPoint* highest, const PoolPoint& point) {
  highest->size = std::max(highest->size, point.size);
  highest->in_use = std::max(highest->in_use, point.in_use);
  highest->leaked = std::max(highest->leaked, point.leaked);
  highest->waiting = std::max(highest->waiting, point.waiting);
  highest->verdict = std::max(highest->verdict, point.verdict);
}

}  // namespace

SampledVerdict sampled_verdict_of(const char* name) {
  for (int i = 1; name != nullptr && i < kSampledVerdictCount; i++)
    if (std::strcmp(name, kVerdictNames[i]) == 0) return static_cast<SampledVerdict>(i);
  return SampledVerdict::kNone;
}

const char* to_string(SampledVerdict verdict) { return kVerdictNames[static_cast<int>(verdict)]; }

int PoolCurve::kept_changes() const {
  return static_cast<int>(std::min<std::int64_t>(change_count_, kFirstChanges + kLastChanges));
}

const ChangedVerdict& PoolCurve::change(int index) const {
  if (index < kFirstChanges) return first_changes_[index];
  const std::int64_t left_out = change_count_ - kept_changes();
  return last_changes_[(left_out + index - kFirstChanges) % kLastChanges];
}

void PoolCurve::keep(const ChangedVerdict& change) {
  if (change_count_ < kFirstChanges)
    first_changes_[change_count_] = change;
  else
    last_changes_[(change_count_ - kFirstChanges) % kLastChanges] = change;
  change_count_++;
}

// What reaches into a span counts for all of it.
void PoolCurve::cover(const ReportPeriod& period, WallTime until) {
  visit_spans(period, last_at_, until, [this](int span) {
    Span& covered = spans_[span];
    if (!covered.is_known) covered = Span{true, last_};
    raise_to(&covered.point, last_);
  });
  if (until > period.since) raise_to(&peak_, last_);
}

bool PoolCurves::begin_sample(const ReportPeriod& period, WallTime taken_at) {
  if (taken_at >= period.upto || taken_at + kLongestStep <= period.since) return false;
  if (samples_ > 0) {
    if (taken_at == last_at_) return true;
    if (taken_at < last_at_) return false;
    end_sample(period, end_of_step(last_at_, taken_at));
  }
  follows_ = samples_ > 0 && is_next_sample(last_at_, taken_at);
  samples_++;
  last_at_ = taken_at;
  return true;
}

// A pool that the sample before had left out was fine then.
void PoolCurves::add(const ReportPeriod& period, int curve, const PoolPoint& point) {
  PoolCurve& pool = curves_[curve];
  if (pool.last_sample_ == samples_) return;
  const bool was_in_the_last = follows_ && pool.last_sample_ > 0 && pool.last_sample_ == samples_ - 1;
  const SampledVerdict before = was_in_the_last ? pool.last_.verdict : SampledVerdict::kOk;
  if (last_at_ >= period.since && before != point.verdict)
    pool.keep(ChangedVerdict{last_at_, before, follows_, point});
  pool.last_sample_ = samples_;
  pool.is_standing_ = true;
  pool.last_at_ = last_at_;
  pool.last_ = point;
}

void PoolCurves::end_sample(const ReportPeriod& period, WallTime until) {
  visit_spans(period, last_at_, until, [this](int span) { is_sampled_[span] = true; });
  for (PoolCurve& pool : curves_) {
    if (pool.is_standing_) pool.cover(period, until);
    pool.is_standing_ = false;
  }
}

void PoolCurves::finish(const ReportPeriod& period) {
  if (samples_ > 0) end_sample(period, last_at_ + kSampleReach);
}

}  // namespace pgleak
