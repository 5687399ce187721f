-- Metrics: what monitoring/ exports to Prometheus. A scrape must be cheap, so these views read shared memory and never
-- the history. Labels must not grow in number with the sessions, so they hold no pid, statement, trace or address.

-- Clients choose application_name and route freely. Parts that look like the number of a pod, a thread or a row become
-- '*': UUIDs, IPv4 addresses, three digits in a row, letters between digits.
CREATE FUNCTION pgleak.metric_label(value text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value IS NULL OR value = '' THEN 'unknown'
    ELSE pg_catalog.left(pg_catalog.regexp_replace(value,
        '[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}'
        '|[0-9]{1,3}([.][0-9]{1,3}){3}'
        '|[[:alnum:]]*([0-9]{3}|[0-9][[:alpha:]]+[0-9])[[:alnum:]]*',
        '*', 'g'), 63)
END;
COMMENT ON FUNCTION pgleak.metric_label(text) IS 'the text as a label of metrics: numbers in it become *, an empty text or NULL becomes unknown';
REVOKE ALL ON FUNCTION pgleak.metric_label(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.metric_label(text) TO pg_monitor;

CREATE VIEW pgleak.metrics_sessions AS
WITH leak AS (
    SELECT l.kind, l.database, l.role, pgleak.metric_label(pgleak.normalize_application_name(l.application_name)) AS application, l.clock,
        GREATEST(l.idle_for, l.transaction_age) AS age, l.blocked
    FROM pgleak.leaks l
), common AS (
    SELECT l.application FROM leak l GROUP BY l.application ORDER BY pg_catalog.count(*) DESC, l.application LIMIT 20
)
SELECT
    l.kind,
    l.database,
    l.role,
    COALESCE(c.application, 'other') AS application,
    COALESCE(l.clock, 'unknown') AS clock,
    pg_catalog.count(*) AS sessions,
    COALESCE(EXTRACT(epoch FROM pg_catalog.max(l.age)), 0)::double precision AS sessions_oldest_seconds,
    COALESCE(pg_catalog.sum(l.blocked), 0)::bigint AS blocked_sessions
FROM leak l LEFT JOIN common c USING (application)
GROUP BY l.kind, l.database, l.role, COALESCE(c.application, 'other'), COALESCE(l.clock, 'unknown');
COMMENT ON VIEW pgleak.metrics_sessions IS 'for Prometheus: open leaks by kind, database, role, application and clock; the 20 applications with the most, and other';
REVOKE ALL ON pgleak.metrics_sessions FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_sessions TO pg_monitor;

CREATE VIEW pgleak.metrics_routes AS
WITH leak AS (
    SELECT pgleak.metric_label(pgleak.normalize_application_name(l.application_name)) AS application,
        pgleak.metric_label(pgleak.route_of(l.tags)) AS route
    FROM pgleak.leaks l
    WHERE l.kind = 'session'
), common AS (
    SELECT l.application, l.route FROM leak l
    GROUP BY l.application, l.route ORDER BY pg_catalog.count(*) DESC, l.application, l.route LIMIT 20
)
SELECT
    COALESCE(c.application, 'other') AS application,
    COALESCE(c.route, 'other') AS route,
    pg_catalog.count(*) AS sessions
FROM leak l LEFT JOIN common c USING (application, route)
GROUP BY COALESCE(c.application, 'other'), COALESCE(c.route, 'other');
COMMENT ON VIEW pgleak.metrics_routes IS 'for Prometheus: open leaks by application and route tag; the 20 pairs with the most, and other';
REVOKE ALL ON pgleak.metrics_routes FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_routes TO pg_monitor;

-- Several pools can have the same labels; the view shows the worst of them, and rather their sum than one that is as bad.
CREATE VIEW pgleak.metrics_pools AS
WITH pool AS (
    SELECT p.scope, COALESCE(p.database, 'all') AS database, COALESCE(p.role, 'all') AS role,
        CASE p.scope WHEN 'server' THEN 'all' ELSE pgleak.metric_label(p.application_name) END AS application,
        p.connections,
        CASE p.scope WHEN 'server' THEN p.connections ELSE p.active + p.idle_in_transaction END AS in_use, p.waiting,
        p.capacity, p.in_use_percent, p.exhausted_at, p.verdict,
        CASE p.verdict WHEN 'leaking' THEN 4 WHEN 'blocked' THEN 3 WHEN 'undersized' THEN 2 WHEN 'leak' THEN 1 ELSE 0
        END AS severity
    FROM pgleak.pools p
    WHERE p.scope IN ('pool', 'application', 'server') AND p.capacity IS NOT NULL
), common AS (
    SELECT p.application FROM pool p
    WHERE p.scope <> 'application'
    GROUP BY p.application ORDER BY pg_catalog.sum(p.connections) DESC, p.application LIMIT 21
), named AS (
    SELECT p.scope, p.database, p.role, COALESCE(c.application, 'other') AS application, p.connections, p.in_use, p.waiting,
        p.capacity, p.in_use_percent, p.exhausted_at, p.verdict, p.severity
    FROM pool p LEFT JOIN common c USING (application)
)
SELECT DISTINCT ON (n.database, n.role, n.application)
    n.database,
    n.role,
    n.application,
    n.connections,
    n.in_use,
    n.waiting,
    n.capacity,
    n.in_use_percent / 100.0::double precision AS in_use_ratio,
    EXTRACT(epoch FROM n.exhausted_at)::double precision AS exhaustion_timestamp_seconds,
    n.verdict
FROM named n
ORDER BY n.database, n.role, n.application, n.severity DESC, n.scope = 'application' DESC,
    n.in_use_percent DESC, n.connections DESC;
COMMENT ON VIEW pgleak.metrics_pools IS 'for Prometheus: the worst pool, or the sum of the pools, of each database, role and application, and the whole server; the 20 applications with the most connections, and other';
REVOKE ALL ON pgleak.metrics_pools FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_pools TO pg_monitor;

-- Of several pools with the same labels, the view adds up the numbers and shows the longest times.
CREATE VIEW pgleak.metrics_idle_times AS
WITH pool AS (
    SELECT COALESCE(t.database, 'all') AS database, COALESCE(t.role, 'all') AS role,
        CASE t.scope WHEN 'server' THEN 'all' ELSE pgleak.metric_label(t.application_name) END AS application,
        t.count, t.total, t.p99, t.max
    FROM pgleak.idle_times t
    WHERE t.scope IN ('pool', 'server') AND t.count > 0
), common AS (
    SELECT p.application FROM pool p GROUP BY p.application ORDER BY pg_catalog.sum(p.count) DESC, p.application LIMIT 21
)
SELECT
    p.database,
    p.role,
    COALESCE(c.application, 'other') AS application,
    pg_catalog.sum(p.count)::bigint AS idle_times,
    EXTRACT(epoch FROM pg_catalog.sum(p.total))::double precision AS seconds,
    EXTRACT(epoch FROM pg_catalog.max(p.p99))::double precision AS p99_seconds,
    EXTRACT(epoch FROM pg_catalog.max(p.max))::double precision AS max_seconds
FROM pool p LEFT JOIN common c USING (application)
GROUP BY p.database, p.role, COALESCE(c.application, 'other');
COMMENT ON VIEW pgleak.metrics_idle_times IS 'for Prometheus: idle times in transactions by database, role and application, and of the whole server; the 20 applications with the most, and other';
REVOKE ALL ON pgleak.metrics_idle_times FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_idle_times TO pg_monitor;

-- Each kind has its row at any time, so an alert ends when the holder does.
CREATE VIEW pgleak.metrics_horizon AS
SELECT
    k.kind,
    COALESCE(pg_catalog.max(h.age_transactions), 0) AS age_transactions,
    COALESCE(EXTRACT(epoch FROM pg_catalog.max(h.age)), 0)::double precision AS oldest_seconds
FROM pg_catalog.unnest('{session,prepared transaction,replication slot,standby feedback,background worker}'::text[]) AS k(kind)
LEFT JOIN pgleak.read_horizon() h ON h.kind = k.kind AND h.holds <> 'WAL'
GROUP BY k.kind;
COMMENT ON VIEW pgleak.metrics_horizon IS 'for Prometheus: the oldest that holds back VACUUM, by kind; zeros if there is none';
REVOKE ALL ON pgleak.metrics_horizon FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_horizon TO pg_monitor;

-- The names of temporary slots contain process IDs.
CREATE VIEW pgleak.metrics_slots AS
SELECT pgleak.metric_label(h.slot_name) AS slot, pg_catalog.max(h.retained_bytes) AS retained_bytes
FROM pgleak.read_horizon() h
WHERE h.retained_bytes IS NOT NULL
GROUP BY pgleak.metric_label(h.slot_name);
COMMENT ON VIEW pgleak.metrics_slots IS 'for Prometheus: how much WAL each replication slot keeps; the most of those with the same label';
REVOKE ALL ON pgleak.metrics_slots FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_slots TO pg_monitor;

CREATE VIEW pgleak.metrics_outcomes AS
SELECT o.outcome, o.episodes FROM pgleak.read_outcomes() o;
COMMENT ON VIEW pgleak.metrics_outcomes IS 'for Prometheus: episodes that ended since the server started or pgleak.reset(), by outcome';
REVOKE ALL ON pgleak.metrics_outcomes FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_outcomes TO pg_monitor;

CREATE VIEW pgleak.metrics_workers AS
SELECT
    s.leaks AS detections,
    COALESCE(EXTRACT(epoch FROM s.last_scan_at), 0)::double precision AS last_scan_timestamp_seconds,
    s.last_scan_us / 1e6::double precision AS scan_duration_seconds,
    EXTRACT(epoch FROM pg_catalog.current_setting('pgleak.scan_interval')::interval)::double precision
        AS scan_interval_seconds,
    s.cancels,
    s.cancels_failed,
    s.terminates,
    s.skipped,
    s.is_recording::integer AS is_recording,
    pg_catalog.pg_is_in_recovery()::integer AS is_in_recovery,
    s.events_queued,
    s.events_written,
    s.events_dropped,
    s.recorder_errors
FROM pgleak.stats s;
COMMENT ON VIEW pgleak.metrics_workers IS 'for Prometheus: one row, what the scanner and the recorder have done since the server started or pgleak.reset()';
REVOKE ALL ON pgleak.metrics_workers FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_workers TO pg_monitor;
