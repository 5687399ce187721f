// The rows that pgleak.report() shows, read through SPI with the rights of the caller.
//
// The period is read from pgleak.history once, through the index on ended_at, into a tuplestore, which spills
// to disk beyond work_mem. The other queries read it from there, as a relation named "period". What stays in
// memory is the bounded content of the page: 20 rows for each table, 120 bars for each of 12 lanes.
#ifndef PGLEAK_FUNCTIONS_REPORT_DATA_HPP
#define PGLEAK_FUNCTIONS_REPORT_DATA_HPP

#include "core/report_page.hpp"

namespace pgleak {

// Fills all of a zeroed page but style and settings, for the period that page->timeline.period names. Texts
// are in the current memory context. The caller has connected to SPI, and search_path is pg_catalog, pg_temp:
// the queries qualify only pgleak's own names. Read-only. May ereport.
void read_report_data(ReportPage* page);

// report_horizon.cpp: fills the section about what holds VACUUM back, under the same conditions.
void read_report_horizon(const ReportPeriod& period, HorizonSection* section);

// report_course.cpp: fills the section about single transactions, while "period" is there.
void read_report_courses(CoursesSection* section);

// report_pools.cpp: fills the sections about pools, under the same conditions.
void read_report_pools(const ReportPeriod& period, PoolsSection* section);

}  // namespace pgleak

#endif
