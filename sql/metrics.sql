-- The views for Prometheus: what they count, that the number of labels is bounded, that a scrape reads no history.
\i test/regress/helpers.sql
CALL pg_temp.wait_for('SELECT pgleak.scan() = 0 AND events_written >= events_queued FROM pgleak.stats');
SELECT pgleak.reset();

-- Their columns, which monitoring/ relies on.
SELECT c.relname::text COLLATE "C" AS object, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)),
    E',\n' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'pgleak'::regnamespace AND c.relname LIKE 'metrics%' AND a.attnum > 0
GROUP BY c.relname ORDER BY 1;

-- Numbers of something make no label of their own.
SELECT value, pgleak.metric_label(value)
FROM unnest(ARRAY[NULL, '', 'shop-api', 'svc2', 'app v1.12.3', 'shop - 10.1.2.3:51234', '/orders/4711/items', 'worker-1234567',
    'shop-api-7d9f8b6c5d-x2x4z', 'job 550e8400-e29b-41d4-a716-446655440000', 'thread_0815', repeat('x', 100)]) AS value;

-- What differs in each process is no part of an application's name; test/unit has more of them.
SELECT value, pgleak.normalize_application_name(value)
FROM unnest(ARRAY[NULL, '', 'shop-api', 'api - 10.1.2.3:51234', 'worker-1234567', 'shop-api-7d9f8b6c5d-x2x4z', 'pgcopydb[17] copy',
    'DBeaver 23.1 - SQLEditor <Script-7.sql>', '4711', repeat('x', 100)]) AS value;

-- Two leaks of one application, one of a nameless one.

ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';
CALL pg_temp.connect('first', 'application_name=bank');
CALL pg_temp.connect('second', 'application_name=bank');
CALL pg_temp.connect('nameless', 'application_name=''''');
SELECT pg_temp.run('first', '/*route=''/orders/4711''*/ BEGIN; SELECT 1'), pg_temp.run('nameless', 'BEGIN; SELECT 1'),
    pg_temp.run('second', 'BEGIN; SELECT 1 /*controller:orders,action:show*/');
CALL pg_temp.wait_for_leak('first', 'second', 'nameless');
SELECT database, role = current_user AS is_mine, application COLLATE "C" AS application, clock, sessions,
    sessions_oldest_seconds BETWEEN 0.05 AND 600 AS is_age, blocked_sessions
FROM pgleak.metrics_sessions ORDER BY 3;
SELECT application COLLATE "C" AS application, route COLLATE "C" AS route, sessions FROM pgleak.metrics_routes ORDER BY 1, 2;

-- A leak on another clock has a row of its own.
SELECT pg_temp.run('first', 'COMMIT; SET pgleak.idle_leak_after = 0'),
    pg_temp.run('first', 'SET pgleak.transaction_leak_after = ''1ms''; /*route=''/orders/4711''*/ BEGIN; SELECT 1');
CALL pg_temp.wait_for('SELECT count(*) = 3 AND bool_or(clock = ''transaction'') FROM leak');
SELECT application COLLATE "C" AS application, clock COLLATE "C" AS clock, sessions FROM pgleak.metrics_sessions ORDER BY 1, 2;

-- All of their pool leaks. Without a limit it is as large as it ever was, and with two connections it is never "leaking".
CALL pg_temp.wait_for($$
    SELECT count(*) = 1 FROM pgleak.metrics_pools WHERE application = 'bank' AND in_use = 2 AND verdict = 'leak'$$);
SELECT database, role = current_user AS is_mine, application, connections, in_use, capacity, in_use_ratio, verdict
FROM pgleak.metrics_pools WHERE application = 'bank';
SELECT database, role, connections >= 4 AS has_connections, in_use = connections AS is_used,
    in_use_ratio BETWEEN 0.01 AND 1 AS has_ratio
FROM pgleak.metrics_pools WHERE application = 'all';

-- How long its sessions are idle in a transaction, in sum.
SELECT pg_temp.run('first', 'SELECT 1'), pg_temp.run('second', 'SELECT 1'), pg_temp.run('second', 'SELECT 1');
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM pgleak.metrics_idle_times WHERE application = ''bank'' AND idle_times >= 3');
SELECT database, role = current_user AS is_mine, seconds > 0 AS has_sum, p99_seconds <= max_seconds AND max_seconds <= seconds AS is_ordered
FROM pgleak.metrics_idle_times WHERE application = 'bank';
SELECT database, role, idle_times >= 3 AS has_times FROM pgleak.metrics_idle_times WHERE application = 'all';

-- Outcomes are all there from the start, counted once each, and zeroed by reset().
SELECT * FROM pgleak.metrics_outcomes;
SELECT pg_temp.run('first', 'COMMIT'), pg_temp.run('second', 'ROLLBACK');
SELECT pgleak.terminate(pid) FROM session WHERE session = 'nameless';
CALL pg_temp.wait_for('SELECT NOT EXISTS (SELECT FROM leak)');
SELECT * FROM pgleak.metrics_outcomes;
SELECT detections, last_scan_timestamp_seconds BETWEEN extract(epoch FROM now()) - 60 AND extract(epoch FROM now()) + 600
    AS has_scanned, scan_duration_seconds BETWEEN 0 AND 60 AS has_duration, scan_interval_seconds, terminates, is_in_recovery,
    events_dropped
FROM pgleak.metrics_workers;
SELECT pgleak.reset();
SELECT DISTINCT episodes FROM pgleak.metrics_outcomes;
CALL pg_temp.disconnect_all();

-- What holds back VACUUM, by kind; a kind without a holder has zeros. What slots keep.
CALL pg_temp.connect('holder');
SELECT pg_temp.run('holder', 'BEGIN; SELECT 1 FROM pg_current_xact_id()');
SELECT slot.slot_name FROM unnest('{1001,1002,x}'::text[]) AS n, pg_create_physical_replication_slot('regress_pgleak_' || n, true) AS slot;
CREATE TEMP TABLE later AS SELECT;
SELECT kind, age_transactions > 0 AS has_age, oldest_seconds BETWEEN 0.0001 AND 60 AS has_time FROM pgleak.metrics_horizon
WHERE kind NOT LIKE 'background%' ORDER BY kind COLLATE "C";
SELECT slot, retained_bytes > 0 AS keeps_wal FROM pgleak.metrics_slots ORDER BY slot COLLATE "C";
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
CALL pg_temp.disconnect_all();

-- They are for monitoring roles.
CREATE ROLE regress_pgleak_exporter IN ROLE pg_monitor;
CREATE ROLE regress_pgleak_reader;
SET ROLE regress_pgleak_exporter;
SELECT (SELECT count(*) FROM pgleak.metrics_sessions) AS sessions, (SELECT count(*) FROM pgleak.metrics_routes) AS routes,
    (SELECT count(*) > 0 FROM pgleak.metrics_pools) AS pools, (SELECT count(*) > 0 FROM pgleak.metrics_idle_times) AS idle_times,
    (SELECT count(*) FROM pgleak.metrics_outcomes) AS outcomes, (SELECT count(*) FROM pgleak.metrics_workers) AS workers,
    (SELECT count(*) FROM pgleak.metrics_horizon) AS horizon, (SELECT count(*) FROM pgleak.metrics_slots) AS slots;
SET ROLE regress_pgleak_reader;
SELECT left(pg_temp.error_of('SELECT FROM pgleak.' || name), 5) AS sqlstate
FROM unnest('{metrics_sessions,metrics_routes,metrics_pools,metrics_idle_times,metrics_outcomes,metrics_workers,metrics_horizon,metrics_slots}'::text[]) AS name;
RESET ROLE;
DROP ROLE regress_pgleak_exporter, regress_pgleak_reader;

-- However many names there are, there are not more labels than that.
DO $$
BEGIN
    FOR i IN 1 .. 25 LOOP
        CALL pg_temp.connect('many ' || i, format('application_name=%s', chr(96 + i) || '-service'));
        PERFORM pg_temp.run('many ' || i, 'BEGIN; SELECT 1');
    END LOOP;
END
$$;
CALL pg_temp.wait_for('SELECT count(*) = 25 FROM leak');
SELECT count(*) AS labels, sum(sessions) AS sessions, sum(sessions) FILTER (WHERE application = 'other') AS others
FROM pgleak.metrics_sessions;
SELECT count(*) AS labels, sum(sessions) AS sessions, sum(sessions) FILTER (WHERE route = 'other') AS others
FROM pgleak.metrics_routes;
CALL pg_temp.wait_for($$
    SELECT max(connections) FILTER (WHERE application = 'all') >= 26 AND count(*) FILTER (WHERE application = 'other') = 1
        AND count(DISTINCT application) = 22
    FROM pgleak.metrics_pools$$);
CALL pg_temp.disconnect_all();
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;

-- None of them has anything to do with a table of ours.
WITH RECURSIVE reads(view, relation) AS (
    SELECT c.oid, c.oid FROM pg_class c
    WHERE c.relnamespace = 'pgleak'::regnamespace AND c.relkind = 'v' AND c.relname LIKE 'metrics%'
    UNION
    SELECT reads.view, d.refobjid
    FROM reads
    JOIN pg_rewrite r ON r.ev_class = reads.relation
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
)
SELECT view::regclass, count(*) > 1 AS reads_views,
    count(*) FILTER (WHERE c.relkind = 'r' AND c.relnamespace = 'pgleak'::regnamespace) AS tables
FROM reads JOIN pg_class c ON c.oid = relation
GROUP BY view ORDER BY view::regclass::text COLLATE "C";
