// The section of the report about what holds VACUUM back: a curve of the horizon's age, its worst moment, and
// the holders at the time of the report. Pure: lives in memory of the caller, allocates nothing. Never
// ereports itself; the writer's sink may.
#ifndef PGLEAK_CORE_REPORT_HORIZON_HPP
#define PGLEAK_CORE_REPORT_HORIZON_HPP

#include <cstdint>

#include "core/html.hpp"
#include "core/report_axis.hpp"
#include "core/report_curve.hpp"
#include "core/report_table.hpp"
#include "core/time.hpp"

namespace pgleak {

// The age of the oldest holder over the period, as steps. All zeros is a curve without samples.
class HorizonCurve {
 public:
  // Adds a sample; `age` is 0 or less if nobody held anything. Call it in the order of time. Samples that are
  // not later than the one before, or not within the period, are left out.
  void add(const ReportPeriod& period, WallTime taken_at, std::int64_t age);

  // Call it once after the last sample.
  void finish(const ReportPeriod& period);

  // The highest age in a span; kNoNumber if no sample stands for any part of it.
  std::int64_t age_in(int span) const { return highest_[span] - 1; }

  std::int64_t samples() const { return samples_; }
  std::int64_t peak() const { return peak_; }

 private:
  void cover(const ReportPeriod& period, WallTime until);

  std::int64_t highest_[kCurveSpans];  // plus 1
  std::int64_t samples_;
  std::int64_t peak_;
  WallTime last_at_;
  std::int64_t last_age_;
};

// All texts are untrusted, belong to the caller, and may be nullptr where that is said.

// The sample with the highest age of the period. `at` is none if nobody held anything.
struct WorstMoment {
  WallTime at;
  std::int64_t age;
  Micros held_for;     // or kNoNumber
  const char* kind;    // or nullptr
  const char* holder;  // or nullptr
};

struct HolderRow {
  const char* kind;
  const char* name;             // application_name, gid or slot; or nullptr
  std::int64_t pid;             // or kNoNumber
  const char* role;             // or nullptr
  const char* database;         // nullptr: every database
  const char* holds;            // "tables, catalogs"
  std::int64_t age;             // in transactions, or kNoNumber
  Micros held_for;              // or kNoNumber
  std::int64_t retained_bytes;  // or kNoNumber
  bool is_oldest;
  const char* remedy;  // or nullptr
};

// An episode of the period that was the oldest of its database, or for which a slot kept WAL.
struct OldLeakRow {
  WallTime detected_at;
  const char* name;  // application_name or gid; or nullptr
  const char* role;
  const char* database;
  std::int64_t pid;             // or kNoNumber
  const char* outcome;          // nullptr: it is open
  Micros oldest_for;            // or kNoNumber
  std::int64_t xmin_age;        // in transactions, or kNoNumber
  std::int64_t retained_bytes;  // or kNoNumber
  const char* slot_name;        // or nullptr
};

struct HorizonSection {
  HorizonCurve curve;
  WorstMoment worst;
  TableRows<HolderRow> holders;
  TableRows<OldLeakRow> leaks;  // those that held longest come first
};

void write_horizon(HtmlWriter* html, const ReportPeriod& period, const HorizonSection& section);

}  // namespace pgleak

#endif
