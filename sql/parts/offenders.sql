-- Offenders: the history, grouped by the code that leaked.

CREATE VIEW pgleak.offenders AS
WITH episode AS (
    -- The row of an open episode dates from its detection; pgleak.leaks has the current values.
    SELECT
        h.kind,
        h.database,
        h.role,
        pgleak.normalize_application_name(h.application_name) AS application_name,
        h.code,
        -- The code says most; where there is none, the route does.
        CASE WHEN h.code IS NULL THEN pgleak.route_of(h.tags) END AS route,
        CASE WHEN h.code IS NULL AND pgleak.route_of(h.tags) IS NULL THEN h.query_id END AS query_id,
        coalesce(h.outcome, 'open') AS outcome,
        greatest(h.idle_for, l.idle_for) AS idle_for,
        greatest(h.blocked, l.blocked) AS blocked,
        greatest(h.blocked_for, l.blocked_for) AS blocked_for,
        h.detected_at AS first_seen,
        coalesce(h.ended_at, CASE WHEN l.leak_id IS NULL THEN h.detected_at ELSE pg_catalog.now() END) AS last_seen,
        -- Arrays compare from left to right, so the greatest is the newest.
        ARRAY[(EXTRACT(epoch FROM h.detected_at) * 1000000)::bigint, h.system_identifier, h.leak_id] AS row_id
    FROM pgleak.history h
    LEFT JOIN pgleak.leaks l
        ON h.ended_at IS NULL AND l.leak_id = h.leak_id AND l.kind = h.kind
        AND (h.kind = 'prepared transaction' OR l.pid = h.pid AND l.backend_start = h.backend_start)
), outcome AS (
    SELECT
        e.kind,
        e.database,
        e.role,
        e.application_name,
        e.code,
        e.route,
        e.query_id,
        e.outcome,
        pg_catalog.count(*) AS episodes,
        pg_catalog.sum(e.idle_for) AS total_idle,
        pg_catalog.max(e.idle_for) AS longest_idle,
        pg_catalog.sum(e.blocked) AS blocked,
        pg_catalog.max(e.blocked) AS peak_blocked,
        pg_catalog.sum(e.blocked_for) AS blocked_for,
        pg_catalog.min(e.first_seen) AS first_seen,
        pg_catalog.max(e.last_seen) AS last_seen,
        pg_catalog.max(e.row_id) AS newest
    FROM episode e
    GROUP BY e.kind, e.database, e.role, e.application_name, e.code, e.route, e.query_id, e.outcome
), offender AS (
    SELECT
        o.kind,
        o.database,
        o.role,
        o.application_name,
        o.code,
        pg_catalog.sum(o.episodes)::bigint AS episodes,
        coalesce(pg_catalog.sum(o.total_idle), '0') AS total_idle,
        coalesce(pg_catalog.max(o.longest_idle), '0') AS longest_idle,
        coalesce(pg_catalog.sum(o.blocked), 0)::bigint AS blocked,
        coalesce(pg_catalog.max(o.peak_blocked), 0) AS peak_blocked,
        coalesce(pg_catalog.sum(o.blocked_for), '0') AS blocked_for,
        pg_catalog.jsonb_object_agg(o.outcome, o.episodes) AS outcomes,
        pg_catalog.min(o.first_seen) AS first_seen,
        pg_catalog.max(o.last_seen) AS last_seen,
        pg_catalog.max(o.newest) AS newest
    FROM outcome o
    GROUP BY o.kind, o.database, o.role, o.application_name, o.code, o.route, o.query_id
)
SELECT
    o.kind,
    o.database,
    o.role,
    o.application_name,
    o.code,
    pgleak.route_of(s.tags) AS route,
    s.query_id,
    o.episodes,
    o.total_idle,
    o.longest_idle,
    o.blocked,
    o.peak_blocked,
    o.blocked_for,
    o.outcomes,
    o.first_seen,
    o.last_seen,
    coalesce(s.query, 'PREPARE TRANSACTION ' || pg_catalog.quote_literal(s.gid)) AS query,
    s.tags
FROM offender o
JOIN pgleak.history s ON s.system_identifier = o.newest[2] AND s.leak_id = o.newest[3]
ORDER BY o.blocked_for DESC, o.total_idle DESC, o.episodes DESC;
COMMENT ON VIEW pgleak.offenders IS 'the code that leaked, most harmful first: the episodes of pgleak.history by database, role, application and code, or else route, or else form of the statement';
COMMENT ON COLUMN pgleak.offenders.kind IS 'session or prepared transaction';
COMMENT ON COLUMN pgleak.offenders.database IS 'database of the sessions or prepared transactions';
COMMENT ON COLUMN pgleak.offenders.role IS 'role of the sessions, or owner of the prepared transactions';
COMMENT ON COLUMN pgleak.offenders.application_name IS 'application of the sessions, as pgleak.normalize_application_name() gives it; NULL for prepared transactions';
COMMENT ON COLUMN pgleak.offenders.code IS 'the place in the application''s source that the tags name, such as app/orders.py:42 get_orders';
COMMENT ON COLUMN pgleak.offenders.route IS 'tag route of the newest episode or, without it, controller#action; NULL without either; where there is no code, that of all episodes';
COMMENT ON COLUMN pgleak.offenders.query_id IS 'query identifier of the last statement of the newest episode, the same for all statements of one form; where there is neither code nor route, that of all episodes';
COMMENT ON COLUMN pgleak.offenders.episodes IS 'number of leaks, open ones included';
COMMENT ON COLUMN pgleak.offenders.total_idle IS 'sum over the episodes of the longest idle time between two statements';
COMMENT ON COLUMN pgleak.offenders.longest_idle IS 'longest of these times';
COMMENT ON COLUMN pgleak.offenders.blocked IS 'sum over the episodes of the highest number of sessions that waited at a time';
COMMENT ON COLUMN pgleak.offenders.peak_blocked IS 'highest of these numbers';
COMMENT ON COLUMN pgleak.offenders.blocked_for IS 'sum over the episodes of the longest time that a session waited';
COMMENT ON COLUMN pgleak.offenders.outcomes IS 'number of episodes by outcome; "open" counts those that have not ended';
COMMENT ON COLUMN pgleak.offenders.first_seen IS 'when the first episode was detected';
COMMENT ON COLUMN pgleak.offenders.last_seen IS 'when the last episode ended; now, if one is open';
COMMENT ON COLUMN pgleak.offenders.query IS 'a sample: the last statement of the newest episode, at its detection; the last statement of a prepared transaction was PREPARE TRANSACTION';
COMMENT ON COLUMN pgleak.offenders.tags IS 'tags of that episode';
REVOKE ALL ON pgleak.offenders FROM PUBLIC;
GRANT SELECT ON pgleak.offenders TO pg_monitor;
