#include "functions/report_data.hpp"

#include <cstdint>

#include "functions/report_rows.hpp"
#include "pg/clock.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
}

namespace pgleak {

namespace {

// Rows of the period that are fetched at a time, for the timeline.
constexpr long kBatchSize = 1000;

constexpr char kPeriod[] = "period";  // what the other queries call the rows of the period

// Open episodes belong to every period. An episode begins when its clock began to run. The bounds are for
// rows that no recorder wrote.
constexpr char kReadPeriod[] = R"(
SELECT row_number() OVER () AS n, h.leak_id, h.pid, h.database, h.role,
    CASE h.kind WHEN 'session' THEN pgleak.normalize_application_name(h.application_name)
        ELSE '(prepared transactions)' END AS application_name,
    left(h.code, 200) AS code, left(pgleak.route_of(h.tags), 100) AS route, h.query_id, left(COALESCE(h.query, h.gid), 200) AS query,
    COALESCE(h.prepared_at, CASE WHEN h.clock <> 'blocking' THEN h.idle_since END, CASE WHEN h.clock = 'transaction'
        THEN h.xact_start WHEN h.detected_at > '1000-01-01' THEN h.detected_at -
        LEAST(GREATEST(h.leak_after, '0'), '24 days') END, h.detected_at) AS began, h.detected_at,
    h.ended_at, h.outcome, h.idle_for, h.blocked::bigint, h.blocked_for,
    h.oldest_for, h.xmin_age, h.retained_bytes, h.slot_name, CASE h.kind WHEN 'session' THEN h.application_name ELSE h.gid END AS holder,
    concat_ws(': ', h.last_action, h.last_action_result) AS action,
    CASE WHEN h.last_action IS NOT NULL AND h.last_action_at >= $1 THEN h.last_action_at END AS acted_at
FROM pgleak.history h WHERE h.ended_at >= $1 OR h.ended_at IS NULL)";

constexpr char kReadTotals[] = R"(
SELECT count(*), count(*) FILTER (WHERE ended_at IS NULL), max(idle_for), max(blocked), sum(blocked_for),
    count(*) FILTER (WHERE outcome IN ('cancelled', 'terminated'))
FROM period)";

// The applications with the most episodes, and in each row the number of all applications.
constexpr char kReadApplications[] = R"(
SELECT application_name, count(*), count(*) FILTER (WHERE ended_at IS NULL), count(*) OVER ()
FROM period GROUP BY application_name ORDER BY count(*) DESC, application_name LIMIT 12)";
static_assert(kMostLanes == 12, "the query reads as many applications as there are lanes");

constexpr char kReadEpisodes[] = R"(
SELECT application_name, outcome, began, ended_at, detected_at, leak_id, pid::bigint, role, database, route,
    blocked, blocked_for FROM period)";

// The most harmful code, each with the statement of its newest episode. Arrays compare from left to right.
constexpr char kReadOffenders[] = R"(
SELECT o.application_name, o.role, o.database, o.code, newest.route, newest.query, o.episodes, o.longest, o.blocked,
    o.waited, o.last_seen
FROM (
    SELECT application_name, role, database, code, CASE WHEN code IS NULL THEN route END,
        CASE WHEN COALESCE(code, route) IS NULL THEN query_id END, count(*) AS episodes, max(idle_for) AS longest,
        sum(idle_for) AS idle, max(blocked) AS blocked, sum(blocked_for) AS waited,
        max(detected_at) AS last_seen,
        max(ARRAY[(EXTRACT(epoch FROM detected_at) * 1000000)::bigint, n]) AS newest
    FROM period GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY waited DESC NULLS LAST, idle DESC NULLS LAST LIMIT 20
) AS o JOIN period AS newest ON newest.n = o.newest[2]
ORDER BY o.waited DESC NULLS LAST, o.idle DESC NULLS LAST)";

constexpr char kReadActionCounts[] = R"(
SELECT action, count(*) FROM period WHERE acted_at IS NOT NULL
GROUP BY action ORDER BY count(*) DESC, action LIMIT 20)";

constexpr char kReadActions[] = R"(
SELECT acted_at, action, application_name, role, database, pid::bigint, query
FROM period WHERE acted_at IS NOT NULL ORDER BY acted_at DESC LIMIT 20)";
static_assert(kMostTableRows == 20, "the queries read as many rows as the tables have");

ParamListInfo make_parameter(WallTime since) {
  ParamListInfo parameters = makeParamList(1);
  parameters->params[0].value = TimestampTzGetDatum(to_timestamp(since));
  parameters->params[0].isnull = false;
  parameters->params[0].pflags = PARAM_FLAG_CONST;
  parameters->params[0].ptype = TIMESTAMPTZOID;
  return parameters;
}

// Reads the episodes since `since` and makes them the relation "period" of the queries that follow. The
// caller ends the tuplestore; an ERROR releases it with the transaction.
Tuplestorestate* read_period(WallTime since) {
  Oid types[] = {TIMESTAMPTZOID};
  SPIPlanPtr plan = SPI_prepare(kReadPeriod, 1, types);
  if (plan == nullptr) expect(SPI_result, SPI_OK_SELECT);

  Tuplestorestate* const store = tuplestore_begin_heap(false, false, work_mem);
  DestReceiver* const receiver = CreateDestReceiver(DestTuplestore);
  SetTuplestoreDestReceiverParams(receiver, store, CurrentMemoryContext, false, nullptr, nullptr);
  SPIExecuteOptions options{};
  options.params = make_parameter(since);
  options.read_only = true;
  options.dest = receiver;
  expect(SPI_execute_plan_extended(plan, &options), SPI_OK_SELECT);

  const CachedPlanSource* const source =
      static_cast<const CachedPlanSource*>(linitial(SPI_plan_get_plan_sources(plan)));
  EphemeralNamedRelation period =
      static_cast<EphemeralNamedRelation>(palloc0(sizeof(EphemeralNamedRelationData)));
  period->md.name = pstrdup(kPeriod);
  period->md.tupdesc = source->resultDesc;
  period->md.enrtype = ENR_NAMED_TUPLESTORE;
  period->md.enrtuples = static_cast<double>(tuplestore_tuple_count(store));
  period->reldata = store;
  expect(SPI_register_relation(period), SPI_OK_REL_REGISTER);
  return store;
}

void fill_totals(ReportTotals* totals) {
  run_query(kReadTotals);
  const ResultRow row = result_row(0);
  totals->episodes = row.number(1, 0);
  totals->open = row.number(2, 0);
  totals->longest_idle = row.duration(3, Micros{kNoNumber});
  totals->blocked = row.number(4, 0);
  totals->blocked_for = row.duration(5, Micros{0});
  totals->stopped = row.number(6, 0);
}

// Gives the applications their lanes. Beyond twelve, all from the twelfth on share the last lane.
void fill_lanes(ReportPage* page) {
  run_query(kReadApplications);
  Timeline* const timeline = &page->timeline;
  ReportTotals* const totals = &page->totals;
  std::int64_t episodes = 0;
  std::int64_t open = 0;
  for (std::uint64_t i = 0; i < SPI_processed && timeline->lane_count < kMostLanes; i++) {
    const ResultRow row = result_row(i);
    totals->applications = row.number(4, 0);
    Lane* const lane = &timeline->lanes[timeline->lane_count++];
    if (timeline->lane_count == kMostLanes && totals->applications > kMostLanes) {
      lane->applications = totals->applications - kMostLanes + 1;
      lane->episodes = totals->episodes - episodes;
      lane->open = totals->open - open;
      return;
    }
    lane->application = row.name(1);
    lane->applications = 1;
    lane->episodes = row.number(2, 0);
    lane->open = row.number(3, 0);
    episodes += lane->episodes;
    open += lane->open;
  }
}

// The columns of kReadEpisodes.
void add_episode(Timeline* timeline, const ResultRow& row, MemoryContext page_context) {
  Lane* const lane = timeline->find_lane(row.name(1));
  if (lane == nullptr) return;
  Bar bar{};
  bar.kind = bar_kind_of(row.string(2));
  bar.began = row.time(3, timeline->period.since);
  bar.finished = row.time(4, timeline->period.upto);
  if (lane->wants_bars()) {
    MemoryContext batch_context = MemoryContextSwitchTo(page_context);
    bar.detected_at = row.time(5, WallTime::none());
    bar.leak_id = row.number(6, 0);
    bar.pid = row.number(7, 0);
    bar.role = row.name(8);
    bar.database = row.name(9);
    bar.route = row.string(10);
    bar.blocked = row.number(11, 0);
    bar.blocked_for = row.duration(12, Micros{0});
    MemoryContextSwitchTo(batch_context);
  }
  lane->add(timeline->period, bar);
}

void fill_timeline(Timeline* timeline) {
  MemoryContext page_context = CurrentMemoryContext;
  MemoryContext batch_context =
      AllocSetContextCreate(CurrentMemoryContext, "pgleak report batch", ALLOCSET_DEFAULT_SIZES);
  Portal portal = SPI_cursor_open_with_args(nullptr, kReadEpisodes, 0, nullptr, nullptr, nullptr, true, 0);
  for (;;) {
    SPI_cursor_fetch(portal, true, kBatchSize);
    if (SPI_processed == 0) break;
    MemoryContextSwitchTo(batch_context);
    for (std::uint64_t i = 0; i < SPI_processed; i++) add_episode(timeline, result_row(i), page_context);
    MemoryContextSwitchTo(page_context);
    MemoryContextReset(batch_context);
    SPI_freetuptable(SPI_tuptable);
  }
  SPI_cursor_close(portal);
}

void fill_offenders(TableRows<OffenderRow>* offenders) {
  fill_table(offenders, kReadOffenders, [](const ResultRow& row, OffenderRow* offender) {
    *offender = OffenderRow{row.name(1),
                            row.name(2),
                            row.name(3),
                            row.string(4),
                            row.string(5),
                            row.string(6),
                            row.number(7, 0),
                            row.duration(8, Micros{kNoNumber}),
                            row.number(9, 0),
                            row.duration(10, Micros{0}),
                            row.time(11, WallTime::none())};
  });
}

void fill_actions(ReportPage* page) {
  fill_table(&page->action_counts, kReadActionCounts, [](const ResultRow& row, ActionCountRow* count) {
    *count = ActionCountRow{row.name(1), row.number(2, 0)};
  });
  fill_table(&page->actions, kReadActions, [](const ResultRow& row, ActionRow* action) {
    *action = ActionRow{row.time(1, WallTime::none()),
                        row.name(2),
                        row.name(3),
                        row.name(4),
                        row.name(5),
                        row.number(6, 0),
                        row.string(7)};
  });
}

}  // namespace

void expect(int result, int expected) {
  if (result != expected)
    ereport(ERROR,
            (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not read the history for the report"),
             errdetail("SPI returned %s.", SPI_result_code_string(result))));
}

void read_report_data(ReportPage* page) {
  Tuplestorestate* const rows = read_period(page->timeline.period.since);
  fill_totals(&page->totals);
  fill_lanes(page);
  fill_timeline(&page->timeline);
  fill_offenders(&page->offenders);
  read_report_courses(&page->courses);
  read_report_horizon(page->timeline.period, &page->horizon);
  read_report_pools(page->timeline.period, &page->pools);
  fill_actions(page);
  SPI_unregister_relation(kPeriod);
  tuplestore_end(rows);
}

}  // namespace pgleak
