// The sections of the report about pools: the curves of those that were in trouble, with a table of the
// changes of verdicts, and a table of the pools at the time of the report. Pure: lives in memory of the
// caller, allocates nothing. Never ereports itself; the writer's sink may.
#ifndef PGLEAK_CORE_REPORT_POOLS_HPP
#define PGLEAK_CORE_REPORT_POOLS_HPP

#include <cstdint>

#include "core/html.hpp"
#include "core/report_axis.hpp"
#include "core/report_pool_curve.hpp"
#include "core/report_table.hpp"

namespace pgleak {

// All texts below are untrusted, belong to the caller, and may be nullptr where that is said.

struct PoolName {
  enum class Scope : std::uint8_t { kPool, kApplication, kServer, kOther };
  Scope scope;
  const char* application;  // this and the next two: nullptr unless of scope kPool or kApplication
  const char* role;
  const char* database;
  const char* client_address;  // or nullptr
};

// From the name in pgleak.pools.scope.
PoolName::Scope pool_scope_of(const char* name);

struct PoolRow {
  PoolName name;
  std::int64_t connections;
  std::int64_t in_use_percent;  // or kNoNumber
  std::int64_t leaked;
  std::int64_t waiting;   // or kNoNumber
  std::int64_t capacity;  // or kNoNumber
  const char* verdict;    // or nullptr
  const char* advice;     // or nullptr
};

struct PoolsSection {
  std::int64_t in_trouble;  // pools that had another verdict than ok in the period
  int curve_count;          // of these, the worst first; at most kMostPoolCurves
  PoolName names[kMostPoolCurves];
  PoolCurves curves;
  TableRows<PoolRow> now;
};

// A name without an application_name says so.
void write_application(HtmlWriter* html, const char* application);

// role@database below a name. The caller ends the span.
void begin_subtitle(HtmlWriter* html, const char* role, const char* database);

void write_number_or_dash(HtmlWriter* html, std::int64_t number, const char* unit);

// The name, in a cell of a table or at the head of a curve.
void write_pool_name(HtmlWriter* html, const PoolName& name);

void write_pools(HtmlWriter* html, const ReportPeriod& period, const PoolsSection& section);

// report_pool_chart.cpp: the curve of a pool, for one lane of the section.
void write_pool_legend(HtmlWriter* html);
void write_pool_chart(HtmlWriter* html, const ReportPeriod& period, const PoolName& name,
                      const PoolCurves& curves, int index, const Ticks& ticks);

}  // namespace pgleak

#endif
