// The courses of transactions in the report: their bars in proportion, what is unknown, and limits.
#include "core/report_course.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "report_samples.hpp"

namespace pgleak {
namespace {

class ReportCourseTest : public testing::Test {
 protected:
  ReportCourseTest() : section_(std::make_unique<CoursesSection>()) {}

  Course* add_course() {
    Course* const course = &section_->courses[section_->count++];
    course->leak_id = 7;
    course->pid = 4711;
    course->application = "shop";
    course->role = "app";
    course->database = "orders";
    return course;
  }

  static void add(Course* course, StepKind kind, int second, int lasted, const char* query = nullptr,
                  std::int64_t count = 1, int idle = 0) {
    course->steps[course->step_count++] = Step{kind,
                                               at(2026, 1, 30, 12) + second * kSecond,
                                               lasted * kSecond,
                                               kind == StepKind::kIdle ? lasted * kSecond : idle * kSecond,
                                               count,
                                               query};
  }

  std::string shown() const {
    return written([this](HtmlWriter* html) { write_courses(html, *section_); });
  }

  bool shows(const std::string& what) const { return shown().find(what) != std::string::npos; }

  std::unique_ptr<CoursesSection> section_;
};

TEST_F(ReportCourseTest, NothingIsWrittenWithoutOne) { EXPECT_EQ(shown(), ""); }

TEST_F(ReportCourseTest, BarsAreInProportion) {
  Course* const course = add_course();
  add(course, StepKind::kStatement, 0, 10, "BEGIN");
  add(course, StepKind::kIdle, 10, 90);
  EXPECT_TRUE(shows("100s: 10s of work, 1m 30s of silence") ||
              shows("1m 40s: 10s of work, 1m 30s of silence"));
  EXPECT_TRUE(shows("class=\"work\" x=\"0\"")) << shown();
  EXPECT_TRUE(shows("class=\"silence\" x=\"100\"")) << shown();
  EXPECT_TRUE(shows("width=\"900\"")) << shown();
}

TEST_F(ReportCourseTest, AShortStatementShowsAtTheVeryEnd) {
  Course* const course = add_course();
  add(course, StepKind::kIdle, 0, 1000);
  add(course, StepKind::kStatement, 1000, 0, "COMMIT");
  EXPECT_TRUE(shows("class=\"work\" x=\"997\"")) << shown();
}

TEST_F(ReportCourseTest, RepetitionsAndGapsAreCounted) {
  Course* const course = add_course();
  add(course, StepKind::kStatement, 0, 1, "BEGIN");
  course->steps[course->step_count++] =
      Step{StepKind::kOmitted, WallTime::none(), Micros{kNoNumber}, Micros{0}, 5, nullptr};
  add(course, StepKind::kStatement, 60, 30, "SELECT NULL", 12, 29);
  EXPECT_TRUE(shows("5 more that the trail does not show"));
  EXPECT_TRUE(shows("<code>SELECT NULL</code> 12 times in a row"));
  EXPECT_TRUE(shows("1m 30s: 2.0s of work, 29s of silence"));
}

TEST_F(ReportCourseTest, WhatIsNotKnownIsNotDrawnAsNothing) {
  Course* const course = add_course();
  course->steps[course->step_count++] =
      Step{StepKind::kStatement, at(2026, 1, 30, 12), Micros{kNoNumber}, Micros{0}, 1, "SELECT 1"};
  EXPECT_TRUE(shows("nobody knows for how long"));
  EXPECT_TRUE(shows("<div>-</div>"));
}

TEST_F(ReportCourseTest, NothingOfAClientBecomesMarkup) {
  Course* const course = add_course();
  course->place = "<b>\"'&";
  course->application = course->role = course->database = "<script>";
  add(course, StepKind::kStatement, 0, 1, "</code><script>alert(1)</script>");
  EXPECT_FALSE(shows("<script>"));
  EXPECT_TRUE(shows("&lt;script&gt;alert(1)"));
}

TEST_F(ReportCourseTest, ActivitiesHaveTheirNames) {
  EXPECT_EQ(step_kind_of("statement"), StepKind::kStatement);
  EXPECT_EQ(step_kind_of("idle"), StepKind::kIdle);
  EXPECT_EQ(step_kind_of("omitted"), StepKind::kOmitted);
}

}  // namespace
}  // namespace pgleak
