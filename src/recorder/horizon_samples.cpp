// Keeps pgleak.horizon_samples: once a minute, who holds back VACUUM most, for the curve of pgleak.report().

#include "recorder/recorder.hpp"
#include "recorder/samples.hpp"

namespace pgleak {

namespace {

// One row, also if nobody holds anything.
constexpr char kTakeSample[] =
    "INSERT INTO pgleak.horizon_samples (taken_at, age_transactions, oldest_seconds, kind, holder)"
    " SELECT pg_catalog.clock_timestamp(), h.age_transactions,"
    "   pg_catalog.floor(EXTRACT(epoch FROM h.age))::bigint, h.kind,"
    "   NULLIF(pg_catalog.left(CASE h.kind"
    "     WHEN 'prepared transaction' THEN h.gid"
    "     WHEN 'replication slot' THEN h.slot_name"
    "     WHEN 'standby feedback' THEN h.application_name"
    "     ELSE pg_catalog.concat_ws(', ', 'pid ' || h.pid,"
    "       CASE h.kind WHEN 'session' THEN NULLIF(h.application_name, '') ELSE h.backend_type END,"
    "       h.role || '@' || h.database) END, 200), '')"
    " FROM (VALUES (1)) AS always LEFT JOIN ("
    "   SELECT * FROM pgleak.read_horizon() WHERE is_oldest"
    "   ORDER BY age_transactions DESC, age DESC NULLS LAST LIMIT 1) AS h ON true";

}  // namespace

void maintain_horizon_samples(MemoryContext context) {
  static SampleTable table{"horizon_samples", kTakeSample, {}, {}, nullptr, nullptr, nullptr};
  maintain_samples(&table, context);
}

}  // namespace pgleak
