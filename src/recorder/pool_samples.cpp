// Keeps pgleak.pool_samples: once a minute, the pools in trouble, for the curves of pgleak.report().
//
// A server can have 2,000 pools, and hardly ever is there anything to tell about one. So a sample has the
// whole server, at most 20 pools in trouble, and those of the last sample whose trouble is over. The row of
// the server also shows that a sample was taken: a pool without a row was fine then.

#include "recorder/recorder.hpp"
#include "recorder/samples.hpp"

namespace pgleak {

namespace {

// An application at several addresses would fill the sample alone: its sum has a row, and one of its pools
// only where that is worse.
constexpr char kTakeSample[] =
    "WITH moment AS MATERIALIZED (SELECT pg_catalog.clock_timestamp() AS taken_at),"
    " pool AS MATERIALIZED ("
    "   SELECT p.scope, p.database, p.role, p.application_name, p.client_addr::pg_catalog.inet AS "
    "client_addr,"
    "     p.connections, CASE p.scope WHEN 'server' THEN p.connections"
    "       ELSE p.active + p.idle_in_transaction END AS in_use,"
    "     p.leaked, p.waiting, p.capacity, p.in_use_percent, p.verdict,"
    "     COALESCE(pg_catalog.array_position('{leak,undersized,blocked,leaking}'::text[], p.verdict), 0)"
    "       AS severity,"
    "     p.leaked > 0 OR COALESCE(p.verdict <> 'ok' OR p.waiting > 0 OR p.busy_since IS NOT NULL, false)"
    "       AS is_in_trouble"
    "   FROM pgleak.read_pools() AS p),"
    " judged AS ("
    "   SELECT p.*, pg_catalog.max(p.severity) FILTER (WHERE p.scope = 'application' AND p.is_in_trouble)"
    "     OVER (PARTITION BY p.database, p.role, p.application_name) AS severity_of_sum"
    "   FROM pool AS p),"
    " troubled AS ("
    "   SELECT p.*, pg_catalog.row_number() OVER (ORDER BY p.scope = 'server' DESC, p.severity DESC,"
    "     p.leaked DESC, p.waiting DESC NULLS LAST, p.in_use_percent DESC NULLS LAST, p.connections DESC) - 1"
    "     AS place"
    "   FROM judged AS p WHERE p.scope = 'server' OR p.is_in_trouble"
    "     AND (p.scope <> 'pool' OR p.severity_of_sum IS NULL OR p.severity > p.severity_of_sum)),"
    " recovered AS ("
    "   SELECT s.scope, s.database, s.role, s.application_name, s.client_addr,"
    "     COALESCE(p.connections, 0) AS connections, CASE WHEN p.scope IS NULL THEN 0"
    "       ELSE p.in_use END AS in_use,"
    "     COALESCE(p.leaked, 0) AS leaked, CASE WHEN p.scope IS NULL THEN 0 ELSE p.waiting END AS waiting,"
    "     p.capacity, p.verdict, pg_catalog.row_number() OVER (ORDER BY s.place) + 20 AS place"
    "   FROM pgleak.pool_samples AS s LEFT JOIN pool AS p ON p.scope = s.scope"
    "     AND p.database IS NOT DISTINCT FROM s.database AND p.role IS NOT DISTINCT FROM s.role"
    "     AND p.application_name IS NOT DISTINCT FROM s.application_name"
    "     AND p.client_addr IS NOT DISTINCT FROM s.client_addr"
    "   WHERE s.taken_at = (SELECT pg_catalog.max(taken_at) FROM pgleak.pool_samples"
    "       WHERE taken_at <= (SELECT taken_at FROM moment))"
    "     AND s.scope <> 'server' AND (s.verdict <> 'ok' OR s.leaked > 0 OR s.waiting > 0)"
    "     AND p.is_in_trouble IS NOT TRUE)"
    " INSERT INTO pgleak.pool_samples (taken_at, place, scope, database, role, application_name, client_addr,"
    "   connections, in_use, leaked, waiting, capacity, verdict)"
    " SELECT m.taken_at, r.* FROM moment AS m, ("
    "   SELECT place, scope, database, role, application_name, client_addr, connections, in_use, leaked,"
    "     waiting, capacity, verdict FROM troubled WHERE place <= 20"
    "   UNION ALL SELECT place, scope, database, role, application_name, client_addr, connections, in_use,"
    "     leaked, waiting, capacity, verdict FROM recovered) AS r";

}  // namespace

void maintain_pool_samples(MemoryContext context) {
  static SampleTable table{"pool_samples", kTakeSample, {}, {}, nullptr, nullptr, nullptr};
  maintain_samples(&table, context);
}

}  // namespace pgleak
