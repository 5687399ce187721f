// Reads what pgleak.report() shows of single transactions: the course of the worst ones of the period.

#include <cstdint>

#include "functions/report_data.hpp"
#include "functions/report_rows.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

namespace {

constexpr char kReadCourses[] = R"(
WITH worst AS (
    SELECT p.leak_id, p.pid::bigint, p.application_name, p.role, p.database, COALESCE(p.code, p.route) AS place,
        row_number() OVER (ORDER BY p.blocked_for DESC NULLS LAST, p.idle_for DESC NULLS LAST, p.leak_id) AS n
    FROM period p WHERE p.pid IS NOT NULL ORDER BY n LIMIT 4)
SELECT w.n, w.leak_id, w.pid, w.application_name, w.role, w.database, w.place,
    t.at, t.activity, t.lasted, t.idle, t.count::bigint, t.query
FROM worst AS w, pgleak.timeline(w.leak_id)
    WITH ORDINALITY AS t (at, activity, lasted, idle, count, query_id, query, step)
ORDER BY w.n, t.step)";
static_assert(kMostCourses == 4, "the query reads as many transactions as there are courses");

// The courses come one after the other, each row with one step.
Course* course_of(const ResultRow& row, CoursesSection* section) {
  const std::int64_t leak_id = row.number(2, 0);
  Course* const last = section->count > 0 ? &section->courses[section->count - 1] : nullptr;
  if (last != nullptr && last->leak_id == leak_id) return last;
  if (section->count == kMostCourses) return nullptr;
  Course* const course = &section->courses[section->count++];
  course->leak_id = leak_id;
  course->pid = row.number(3, 0);
  course->application = row.name(4);
  course->role = row.name(5);
  course->database = row.name(6);
  course->place = row.string(7);
  return course;
}

}  // namespace

void read_report_courses(CoursesSection* section) {
  run_query(kReadCourses);
  for (std::uint64_t i = 0; i < SPI_processed; i++) {
    const ResultRow row = result_row(i);
    Course* const course = course_of(row, section);
    if (course == nullptr || course->step_count == kMostSteps) continue;
    course->steps[course->step_count++] = Step{step_kind_of(row.name(9)),
                                               row.time(8, WallTime::none()),
                                               row.duration(10, Micros{kNoNumber}),
                                               row.duration(11, Micros{0}),
                                               row.number(12, 1),
                                               row.string(13)};
  }
}

}  // namespace pgleak
