// The curves of pools: the difference between a pool that was fine and a time in which nobody looked, and
// when a verdict changed.
#include "core/report_pool_curve.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "report_samples.hpp"

namespace pgleak {
namespace {

constexpr Micros kMinute = 60 * kSecond;
const WallTime kUpto = at(2026, 1, 31);
const WallTime kSince = kUpto - kCurveSpans * kMinute;  // a span for each minute

PoolPoint point(SampledVerdict verdict, std::int32_t in_use = 5) {
  return PoolPoint{10, in_use, 2, 1, verdict};
}

class ReportPoolCurveTest : public testing::Test {
 protected:
  ReportPoolCurveTest() : curves_(std::make_unique<PoolCurves>()) {}

  bool sample(double minute) {
    return curves_->begin_sample(period_, kSince + Micros{static_cast<std::int64_t>(minute * 60e6)});
  }

  // The row of the first pool in a sample.
  void add(double minute, const PoolPoint& added) {
    ASSERT_TRUE(sample(minute));
    curves_->add(period_, 0, added);
  }

  const PoolCurve& finished() {
    curves_->finish(period_);
    return curves_->curve(0);
  }

  const ReportPeriod period_{kSince, kUpto};
  std::unique_ptr<PoolCurves> curves_;
};

TEST_F(ReportPoolCurveTest, ASampleStandsUntilTheNext) {
  add(10, point(SampledVerdict::kLeak, 5));
  add(11.5, point(SampledVerdict::kLeaking, 3));
  const PoolCurve& curve = finished();
  EXPECT_FALSE(curve.has(9));
  EXPECT_EQ(curve.in(10).in_use, 5);
  EXPECT_EQ(curve.in(10).verdict, SampledVerdict::kLeak);
  EXPECT_EQ(curve.in(11).in_use, 5);
  EXPECT_EQ(curve.in(11).verdict, SampledVerdict::kLeaking);
  EXPECT_EQ(curve.in(12).in_use, 3);
  EXPECT_FALSE(curve.has(13));
}

TEST_F(ReportPoolCurveTest, WithoutSamplesThereIsAGap) {
  add(10, point(SampledVerdict::kLeak));
  add(20, point(SampledVerdict::kLeak));
  const PoolCurve& curve = finished();
  EXPECT_TRUE(curve.has(10));
  EXPECT_TRUE(curve.has(20));
  for (int span = 11; span < 20; span++) {
    EXPECT_FALSE(curve.has(span)) << span;
    EXPECT_FALSE(curves_->is_sampled(span)) << span;
  }
}

// It had a row in the samples before and after that, and none in between.
TEST_F(ReportPoolCurveTest, APoolThatASampleLeavesOutIsNoGap) {
  add(10, point(SampledVerdict::kUndersized));
  sample(11);
  add(12, point(SampledVerdict::kUndersized));
  const PoolCurve& curve = finished();
  EXPECT_TRUE(curve.has(10));
  EXPECT_FALSE(curve.has(11));
  EXPECT_TRUE(curve.has(12));
  EXPECT_TRUE(curves_->is_sampled(11));
  EXPECT_FALSE(curves_->is_sampled(13));
}

TEST_F(ReportPoolCurveTest, ChangesSayWhatWasBefore) {
  sample(9);
  add(10, point(SampledVerdict::kLeak, 1));
  add(11, point(SampledVerdict::kLeak, 2));
  add(12, point(SampledVerdict::kLeaking, 9));
  add(13, point(SampledVerdict::kOk, 0));
  const PoolCurve& curve = finished();
  ASSERT_EQ(curve.changes(), 3);
  EXPECT_EQ(curve.change(0).at, kSince + 10 * kMinute);
  EXPECT_EQ(curve.change(0).before, SampledVerdict::kOk);
  EXPECT_TRUE(curve.change(0).is_before_known);
  EXPECT_EQ(curve.change(0).point.verdict, SampledVerdict::kLeak);
  EXPECT_EQ(curve.change(1).before, SampledVerdict::kLeak);
  EXPECT_EQ(curve.change(1).point.verdict, SampledVerdict::kLeaking);
  EXPECT_EQ(curve.change(1).point.in_use, 9);
  EXPECT_EQ(curve.change(2).before, SampledVerdict::kLeaking);
  EXPECT_EQ(curve.change(2).point.verdict, SampledVerdict::kOk);
}

TEST_F(ReportPoolCurveTest, AfterAGapNobodyKnowsWhatWasBefore) {
  add(10, point(SampledVerdict::kLeaking));
  add(20, point(SampledVerdict::kLeaking));
  const PoolCurve& curve = finished();
  ASSERT_EQ(curve.changes(), 2);
  EXPECT_FALSE(curve.change(0).is_before_known);
  EXPECT_FALSE(curve.change(1).is_before_known);
}

// A pool that is only busy has a row, and nothing has changed.
TEST_F(ReportPoolCurveTest, AnOkAfterAnOkIsNoChange) {
  add(10, point(SampledVerdict::kOk));
  sample(11);
  add(12, point(SampledVerdict::kOk));
  EXPECT_EQ(finished().changes(), 0);
}

// What was before the period is known from the sample that still stands for its beginning.
TEST_F(ReportPoolCurveTest, AChangeBeforeThePeriodIsNotInIt) {
  add(-0.5, point(SampledVerdict::kLeaking));
  add(0.5, point(SampledVerdict::kLeaking));
  const PoolCurve& curve = finished();
  EXPECT_EQ(curve.changes(), 0);
  EXPECT_TRUE(curve.has(0));
}

TEST_F(ReportPoolCurveTest, TheFirstAndTheLastChangesAreKept) {
  sample(0);
  for (int i = 1; i <= 21; i++) add(i, point(i % 2 == 1 ? SampledVerdict::kBlocked : SampledVerdict::kOk, i));
  const PoolCurve& curve = finished();
  EXPECT_EQ(curve.changes(), 21);
  ASSERT_EQ(curve.kept_changes(), 8);
  const int expected[] = {1, 2, 3, 4, 18, 19, 20, 21};
  for (int i = 0; i < 8; i++) EXPECT_EQ(curve.change(i).point.in_use, expected[i]) << i;
}

TEST_F(ReportPoolCurveTest, FewerChangesAreAllKept) {
  sample(0);
  for (int i = 1; i <= 6; i++) add(i, point(i % 2 == 1 ? SampledVerdict::kBlocked : SampledVerdict::kOk, i));
  const PoolCurve& curve = finished();
  ASSERT_EQ(curve.kept_changes(), 6);
  for (int i = 0; i < 6; i++) EXPECT_EQ(curve.change(i).point.in_use, i + 1);
}

TEST_F(ReportPoolCurveTest, ASpanShowsTheHighestAndTheWorst) {
  add(10, PoolPoint{10, 9, kNotKnown, 0, SampledVerdict::kBlocked});
  add(10.3, PoolPoint{12, 3, 7, kNotKnown, SampledVerdict::kLeak});
  const PoolCurve& curve = finished();
  EXPECT_EQ(curve.in(10).size, 12);
  EXPECT_EQ(curve.in(10).in_use, 9);
  EXPECT_EQ(curve.in(10).leaked, 7);
  EXPECT_EQ(curve.in(10).waiting, 0);
  EXPECT_EQ(curve.in(10).verdict, SampledVerdict::kBlocked);
  EXPECT_EQ(curve.peak().in_use, 9);
}

// Rows that no recorder writes, or clocks that were set.
TEST_F(ReportPoolCurveTest, OddSamplesAreLeftOut) {
  EXPECT_FALSE(sample(-1000));
  EXPECT_TRUE(sample(100));
  EXPECT_FALSE(sample(50));
  EXPECT_FALSE(sample(1000));
  EXPECT_FALSE(curves_->begin_sample(period_, kEndOfTime - kMinute * 10));
  curves_->add(period_, 0, point(SampledVerdict::kLeak, 5));
  EXPECT_TRUE(sample(100));
  curves_->add(period_, 0, point(SampledVerdict::kLeaking, 9));
  const PoolCurve& curve = finished();
  EXPECT_EQ(curves_->samples(), 1);
  EXPECT_EQ(curve.in(100).in_use, 5);
  EXPECT_EQ(curve.changes(), 1);
}

TEST_F(ReportPoolCurveTest, VerdictsHaveTheirNames) {
  for (const char* name : {"ok", "leak", "undersized", "blocked", "leaking"})
    EXPECT_STREQ(to_string(sampled_verdict_of(name)), name);
  EXPECT_EQ(sampled_verdict_of(nullptr), SampledVerdict::kNone);
  EXPECT_EQ(sampled_verdict_of("<b>"), SampledVerdict::kNone);
  EXPECT_EQ(sampled_verdict_of("no verdict"), SampledVerdict::kNone);
}

}  // namespace
}  // namespace pgleak
