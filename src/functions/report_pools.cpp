// Reads what pgleak.report() shows of pools: those that were in trouble in the period, with their samples,
// and all pools at this moment.

#include <algorithm>
#include <cstdint>

#include "functions/report_data.hpp"
#include "functions/report_rows.hpp"
#include "pg/postgres.hpp"

namespace pgleak {

namespace {

// The pools of the period that had another verdict than ok: by the worst one, then by how long they had it.
// One sample from shortly before the period may still stand for its beginning.
#define PGLEAK_POOLS_IN_TROUBLE                                                                        \
  "WITH judged AS ("                                                                                   \
  "  SELECT scope, database, role, application_name, client_addr, count(*) AS samples,"                \
  "    array_position('{leak,undersized,blocked,leaking}'::text[], verdict)::bigint AS severity"       \
  "  FROM pgleak.pool_samples"                                                                         \
  "  WHERE taken_at > $1 - interval '2 minutes' AND taken_at < $2 AND verdict <> 'ok'"                 \
  "  GROUP BY scope, database, role, application_name, client_addr, verdict),"                         \
  " pool AS ("                                                                                         \
  "  SELECT scope, database, role, application_name, client_addr, count(*) OVER () AS total,"          \
  "    row_number() OVER (ORDER BY max(ARRAY[severity, samples]) DESC, scope, application_name, role," \
  "      database, client_addr) AS n"                                                                  \
  "  FROM judged WHERE severity IS NOT NULL"                                                           \
  "  GROUP BY scope, database, role, application_name, client_addr ORDER BY n LIMIT 8)"

constexpr char kReadNames[] = PGLEAK_POOLS_IN_TROUBLE
    " SELECT scope, application_name, role, database, host(client_addr), total"
    " FROM pool ORDER BY n";
static_assert(kMostPoolCurves == 8, "the queries read as many pools as there are curves");

// And the rows of the server, which show when samples were taken. The join can hash the name only; there are
// millions of rows at worst.
constexpr char kReadSamples[] = PGLEAK_POOLS_IN_TROUBLE
    " SELECT s.taken_at, p.n, CASE s.scope WHEN 'server' THEN s.capacity ELSE s.connections END::bigint,"
    "   s.in_use::bigint, s.leaked::bigint, s.waiting::bigint, s.verdict"
    " FROM pgleak.pool_samples AS s LEFT JOIN pool AS p"
    "   ON COALESCE(p.application_name, '') = COALESCE(s.application_name, '') AND p.scope = s.scope"
    "   AND p.database IS NOT DISTINCT FROM s.database AND p.role IS NOT DISTINCT FROM s.role"
    "   AND p.client_addr IS NOT DISTINCT FROM s.client_addr"
    " WHERE s.taken_at > $1 - interval '2 minutes' AND s.taken_at < $2"
    "   AND (p.n IS NOT NULL OR s.scope = 'server') ORDER BY s.taken_at, s.place";

// Pools in trouble come first, then the fullest; the server as a whole stands above them.
constexpr char kReadPools[] = R"(
SELECT scope, application_name, role, database, host(client_addr), connections::bigint,
    in_use_percent::bigint, leaked::bigint, waiting::bigint, capacity::bigint, verdict, advice
FROM (
    SELECT *, COALESCE(verdict <> 'ok', false) AS is_in_trouble FROM pgleak.pools WHERE connections > 0
    ORDER BY is_in_trouble DESC, leaked DESC, in_use_percent DESC NULLS LAST, connections DESC LIMIT 20
) AS p
ORDER BY scope = 'server' DESC, is_in_trouble DESC, leaked DESC, in_use_percent DESC NULLS LAST,
    connections DESC)";
static_assert(kMostTableRows == 20, "the query reads as many rows as the table has");

// The columns scope, application_name, role, database and client_addr, which come first.
PoolName name_of(const ResultRow& row) {
  return PoolName{pool_scope_of(row.name(1)), row.name(2), row.name(3), row.name(4), row.string(5)};
}

// A row that somebody has inserted by hand can hold any number.
std::int32_t number_of(const ResultRow& row, int column) {
  constexpr std::int64_t kMost = 1000000;
  const std::int64_t number = row.number(column, kNotKnown);
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(number, kNotKnown, kMost));
}

void fill_names(const ReportPeriod& period, PoolsSection* section) {
  PeriodArguments arguments = arguments_of(period);
  expect(SPI_execute_with_args(kReadNames, 2, arguments.types, arguments.values, nullptr, true, 0),
         SPI_OK_SELECT);
  for (std::uint64_t i = 0; i < SPI_processed && section->curve_count < kMostPoolCurves; i++) {
    const ResultRow row = result_row(i);
    section->names[section->curve_count++] = name_of(row);
    section->in_trouble = row.number(6, 0);
  }
}

void fill_curves(const ReportPeriod& period, PoolsSection* section) {
  PoolCurves* const curves = &section->curves;
  fetch_rows(kReadSamples, period, [&period, section, curves](const ResultRow& row) {
    const std::int64_t number = row.number(2, 0);
    if (!curves->begin_sample(period, row.time(1, period.since))) return;
    if (number < 1 || number > section->curve_count) return;
    curves->add(period, static_cast<int>(number) - 1,
                PoolPoint{number_of(row, 3), number_of(row, 4), number_of(row, 5), number_of(row, 6),
                          sampled_verdict_of(row.string(7))});
  });
  curves->finish(period);
}

void fill_pools(TableRows<PoolRow>* pools) {
  fill_table(pools, kReadPools, [](const ResultRow& row, PoolRow* pool) {
    *pool = PoolRow{name_of(row),
                    row.number(6, 0),
                    row.number(7, kNoNumber),
                    row.number(8, 0),
                    row.number(9, kNoNumber),
                    row.number(10, kNoNumber),
                    row.string(11),
                    row.string(12)};
  });
}

}  // namespace

void read_report_pools(const ReportPeriod& period, PoolsSection* section) {
  fill_names(period, section);
  fill_curves(period, section);
  fill_pools(&section->now);
}

}  // namespace pgleak
