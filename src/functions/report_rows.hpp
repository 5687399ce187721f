// Rows of the report's queries, as SPI returns them. For the files report_data.cpp,
// report_horizon.cpp and report_pools.cpp.
#ifndef PGLEAK_FUNCTIONS_REPORT_ROWS_HPP
#define PGLEAK_FUNCTIONS_REPORT_ROWS_HPP

#include <cstdint>

#include "core/report_axis.hpp"
#include "core/report_table.hpp"
#include "core/time.hpp"
#include "pg/clock.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
}

namespace pgleak {

// A row that somebody has inserted by hand can hold any time and duration, even infinity. Within 1,900 years
// of 2000 nothing overflows and years have four digits.
inline constexpr std::int64_t kFarthest = 1900 * INT64CONST(365) * USECS_PER_DAY;

inline std::int64_t clamp(std::int64_t value) { return Min(Max(value, -kFarthest), kFarthest); }

// One row of a result. Columns count from 1; texts are copies in the current memory context. All may ereport
// (out of memory).
class ResultRow {
 public:
  ResultRow(HeapTuple tuple, TupleDesc description) : tuple_(tuple), description_(description) {}

  // nullptr if NULL.
  const char* string(int column) const {
    Datum value;
    return get(column, &value) ? TextDatumGetCString(value) : nullptr;
  }

  // Empty if NULL.
  const char* name(int column) const {
    const char* const found = string(column);
    return found == nullptr ? "" : found;
  }

  std::int64_t number(int column, std::int64_t if_null) const {
    Datum value;
    return get(column, &value) ? DatumGetInt64(value) : if_null;
  }

  WallTime time(int column, WallTime if_null) const {
    Datum value;
    return get(column, &value) ? WallTime{clamp(DatumGetTimestampTz(value))} : if_null;
  }

  bool flag(int column) const {
    Datum value;
    return get(column, &value) && DatumGetBool(value);
  }

  Micros duration(int column, Micros if_null) const {
    Datum value;
    if (!get(column, &value)) return if_null;
    const Interval* const interval = DatumGetIntervalP(value);
    const double days = static_cast<double>(interval->month) * DAYS_PER_MONTH + interval->day;
    const double micros = days * USECS_PER_DAY + static_cast<double>(interval->time);
    if (micros > static_cast<double>(kFarthest)) return Micros{kFarthest};
    return Micros{micros < 0 ? 0 : static_cast<std::int64_t>(micros)};
  }

 private:
  bool get(int column, Datum* value) const {
    bool is_null = true;
    *value = SPI_getbinval(tuple_, description_, column, &is_null);
    return !is_null;
  }

  HeapTuple tuple_;
  TupleDesc description_;
};

inline ResultRow result_row(std::uint64_t i) {
  return ResultRow(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
}

// Raises an ERROR unless SPI has answered as expected. In report_data.cpp.
void expect(int result, int expected);

// Runs a query without parameters; its rows are in SPI_tuptable afterwards.
inline void run_query(const char* query) { expect(SPI_execute(query, true, 0), SPI_OK_SELECT); }

// The period as the parameters $1 and $2 of a query.
struct PeriodArguments {
  Oid types[2];
  Datum values[2];
};

inline PeriodArguments arguments_of(const ReportPeriod& period) {
  return PeriodArguments{
      {TIMESTAMPTZOID, TIMESTAMPTZOID},
      {TimestampTzGetDatum(to_timestamp(period.since)), TimestampTzGetDatum(to_timestamp(period.upto))}};
}

// Calls add(row) for each row of a query about the period, and holds one batch of rows at a time. Texts of a
// row are in a memory context that does not outlive the batch.
template <typename Add>
void fetch_rows(const char* query, const ReportPeriod& period, Add add) {
  constexpr long kBatchSize = 1000;
  PeriodArguments arguments = arguments_of(period);
  MemoryContext outer = CurrentMemoryContext;
  MemoryContext batch =
      AllocSetContextCreate(CurrentMemoryContext, "pgleak report batch", ALLOCSET_DEFAULT_SIZES);
  Portal portal =
      SPI_cursor_open_with_args(nullptr, query, 2, arguments.types, arguments.values, nullptr, true, 0);
  for (;;) {
    SPI_cursor_fetch(portal, true, kBatchSize);
    if (SPI_processed == 0) break;
    MemoryContextSwitchTo(batch);
    for (std::uint64_t i = 0; i < SPI_processed; i++) add(result_row(i));
    MemoryContextSwitchTo(outer);
    MemoryContextReset(batch);
    SPI_freetuptable(SPI_tuptable);
  }
  SPI_cursor_close(portal);
}

// Runs a query and fills a table with its rows.
template <typename Row, typename ReadRow>
void fill_table(TableRows<Row>* table, const char* query, ReadRow read_row) {
  run_query(query);
  for (std::uint64_t i = 0; i < SPI_processed && table->count < kMostTableRows; i++)
    read_row(result_row(i), &table->rows[table->count++]);
}

}  // namespace pgleak

#endif
