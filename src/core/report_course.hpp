// The section of the report about the worst transactions: what each of them ran, when, and how long it was
// silent. Pure: lives in memory of the caller, allocates nothing. Never ereports itself; the writer's sink
// may.
#ifndef PGLEAK_CORE_REPORT_COURSE_HPP
#define PGLEAK_CORE_REPORT_COURSE_HPP

#include <cstdint>

#include "core/html.hpp"
#include "core/report_table.hpp"
#include "core/time.hpp"
#include "core/trail.hpp"

namespace pgleak {

inline constexpr int kMostCourses = 4;
// A trail's statements, each with the idle time before it, the entries that are missing, and the silence at
// the end.
inline constexpr int kMostSteps = 2 * kMaxTrailSize + 2;

// The values of pgleak.timeline().activity.
enum class StepKind : std::uint8_t { kStatement, kIdle, kOmitted };

// From the name in pgleak.timeline().activity.
StepKind step_kind_of(const char* activity);

// All texts below are untrusted, belong to the caller, and may be nullptr where that is said.

struct Step {
  StepKind kind;
  WallTime at;         // none: not known
  Micros lasted;       // or kNoNumber
  Micros idle;         // of that; between the runs of a statement that ran several times in a row
  std::int64_t count;  // how often the statement ran, or how many entries are missing
  const char* query;   // or nullptr
};

struct Course {
  std::int64_t leak_id;
  std::int64_t pid;
  const char* application;
  const char* role;
  const char* database;
  const char* place;  // the code or the route; or nullptr
  int step_count;
  Step steps[kMostSteps];
};

struct CoursesSection {
  int count;
  Course courses[kMostCourses];
};

// Writes nothing if there is no course.
void write_courses(HtmlWriter* html, const CoursesSection& section);

}  // namespace pgleak

#endif
