// Reads what pgleak.report() shows of what holds VACUUM back: the samples of the period, in batches through
// the table's key, and the holders of this moment.

#include <cstdint>

#include "functions/report_data.hpp"
#include "functions/report_rows.hpp"
#include "pg/clock.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "executor/spi.h"
}

namespace pgleak {

namespace {

// One from shortly before the period may still stand for its beginning.
constexpr char kReadSamples[] = R"(
SELECT taken_at, age_transactions FROM pgleak.horizon_samples
WHERE taken_at > $1 - interval '2 minutes' AND taken_at < $2 ORDER BY taken_at)";

constexpr char kReadWorst[] = R"(
SELECT taken_at, age_transactions,
    CASE WHEN oldest_seconds BETWEEN 0 AND 1000000000 THEN make_interval(secs => oldest_seconds) END, kind, holder
FROM pgleak.horizon_samples
WHERE taken_at >= $1 AND taken_at < $2 AND age_transactions > 0
ORDER BY age_transactions DESC, oldest_seconds DESC NULLS LAST, taken_at DESC LIMIT 1)";

constexpr char kReadHolders[] = R"(
SELECT kind, NULLIF(COALESCE(gid, slot_name, application_name), ''), pid::bigint, role, database, holds,
    age_transactions, age, retained_bytes, is_oldest, remedy
FROM pgleak.horizon WHERE is_oldest OR age_transactions > 0 OR retained_bytes > 0
ORDER BY is_oldest DESC, age_transactions DESC NULLS LAST, retained_bytes DESC NULLS LAST LIMIT 20)";
static_assert(kMostTableRows == 20, "the query reads as many rows as the table has");

// From the rows of the period, as the other tables of the report.
constexpr char kReadLeaks[] = R"(
SELECT detected_at, holder, role, database, pid::bigint, outcome, oldest_for, xmin_age, retained_bytes, slot_name
FROM period WHERE oldest_for > '0' OR retained_bytes > 0
ORDER BY oldest_for DESC NULLS LAST, retained_bytes DESC NULLS LAST, leak_id LIMIT 10)";

void fill_curve(const ReportPeriod& period, HorizonCurve* curve) {
  fetch_rows(kReadSamples, period, [&period, curve](const ResultRow& row) {
    curve->add(period, row.time(1, period.since), row.number(2, 0));
  });
  curve->finish(period);
}

void fill_worst(const ReportPeriod& period, WorstMoment* worst) {
  PeriodArguments arguments = arguments_of(period);
  expect(SPI_execute_with_args(kReadWorst, 2, arguments.types, arguments.values, nullptr, true, 1),
         SPI_OK_SELECT);
  if (SPI_processed == 0) return;
  const ResultRow row = result_row(0);
  *worst = WorstMoment{row.time(1, WallTime::none()), row.number(2, 0), row.duration(3, Micros{kNoNumber}),
                       row.string(4), row.string(5)};
}

void fill_holders(TableRows<HolderRow>* holders) {
  fill_table(holders, kReadHolders, [](const ResultRow& row, HolderRow* holder) {
    *holder = HolderRow{row.name(1),
                        row.string(2),
                        row.number(3, kNoNumber),
                        row.string(4),
                        row.string(5),
                        row.name(6),
                        row.number(7, kNoNumber),
                        row.duration(8, Micros{kNoNumber}),
                        row.number(9, kNoNumber),
                        row.flag(10),
                        row.string(11)};
  });
}

void fill_leaks(TableRows<OldLeakRow>* leaks) {
  fill_table(leaks, kReadLeaks, [](const ResultRow& row, OldLeakRow* leak) {
    *leak = OldLeakRow{row.time(1, WallTime::none()),
                       row.string(2),
                       row.name(3),
                       row.name(4),
                       row.number(5, kNoNumber),
                       row.string(6),
                       row.duration(7, Micros{kNoNumber}),
                       row.number(8, kNoNumber),
                       row.number(9, kNoNumber),
                       row.string(10)};
  });
}

}  // namespace

void read_report_horizon(const ReportPeriod& period, HorizonSection* section) {
  fill_curve(period, &section->curve);
  fill_worst(period, &section->worst);
  fill_holders(&section->holders);
  fill_leaks(&section->leaks);
}

}  // namespace pgleak
