// The page of pgleak.report(): one HTML document that needs nothing from elsewhere. Pure: reads a value that
// the caller has filled and writes bytes into the caller's sink. Never ereports itself; the sink may.
#ifndef PGLEAK_CORE_REPORT_PAGE_HPP
#define PGLEAK_CORE_REPORT_PAGE_HPP

#include <cstdint>

#include "core/html.hpp"
#include "core/report_course.hpp"
#include "core/report_horizon.hpp"
#include "core/report_pools.hpp"
#include "core/report_table.hpp"
#include "core/report_timeline.hpp"
#include "core/time.hpp"

namespace pgleak {

// All texts below are untrusted, belong to the caller, and may be nullptr where that is said.

struct ReportTotals {
  std::int64_t episodes;
  std::int64_t open;
  std::int64_t applications;
  Micros longest_idle;  // or kNoNumber
  std::int64_t blocked;
  Micros blocked_for;
  std::int64_t stopped;
};

struct OffenderRow {
  const char* application;
  const char* role;
  const char* database;
  const char* code;   // or nullptr
  const char* route;  // or nullptr
  const char* query;  // or nullptr
  std::int64_t episodes;
  Micros longest_idle;  // or kNoNumber
  std::int64_t blocked;
  Micros blocked_for;
  WallTime last_seen;
};

struct ActionCountRow {
  const char* action;  // "cancel: done"
  std::int64_t count;
};

struct ActionRow {
  WallTime at;
  const char* action;  // "cancel: done"
  const char* application;
  const char* role;
  const char* database;
  std::int64_t pid;
  const char* query;  // or nullptr
};

struct ReportPage {
  const char* style;           // trusted: the style sheet
  const char* cluster_name;    // empty if there is none
  const char* server_version;  // as the setting has it: "15.4 (Debian 15.4-1)"
  const char* time_zone;
  ReportTotals totals;
  Timeline timeline;  // its period is the page's
  TableRows<OffenderRow> offenders;
  CoursesSection courses;
  HorizonSection horizon;
  PoolsSection pools;
  TableRows<ActionCountRow> action_counts;
  TableRows<ActionRow> actions;
};

// Writes the page. Its length follows from its texts and the limits of lanes and tables, not from the number
// of episodes: with names of 60 bytes it stays below 2.5 MB. Sorts the bars of the timeline.
void write_report(HtmlWriter* html, ReportPage* page);

}  // namespace pgleak

#endif
