-- pgleak.offenders: episodes grouped by the code that leaked, the most harmful first.
\i test/regress/helpers.sql

-- Real ones: the same statement from two routes, several times, with every kind of end; one goes on.
CALL pg_temp.wait_for('SELECT pgleak.scan() = 0 AND events_written >= events_queued FROM pgleak.stats');
TRUNCATE pgleak.history;
CREATE TABLE test_offenders (id integer);
ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';
CREATE PROCEDURE pg_temp.leak(name text, application text, statement text) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.connect(name, format('application_name=%L', application));
    -- In one message, or the session might be a leak before it comes to the statement.
    PERFORM pg_temp.run(name, regexp_replace(statement, 'SELECT|UPDATE', 'BEGIN; \&'));
    CALL pg_temp.wait_for(format('SELECT count(*) = 1 FROM history WHERE session = %L', name));
END
$$;
CALL pg_temp.leak('first', 'shop', $$/*route='/orders'*/ SELECT count(*) FROM test_offenders WHERE id = 1$$);
SELECT pg_temp.run('first', 'COMMIT');
CALL pg_temp.wait_for_outcome('first', 'committed');
CALL pg_temp.leak('second', 'shop', $$/*route='/orders'*/ SELECT count(*) FROM test_offenders WHERE id = 2$$);
SELECT pg_temp.run('second', 'ROLLBACK');
CALL pg_temp.wait_for_outcome('second', 'rolled back');
CALL pg_temp.leak('third', 'shop', $$SELECT count(*) FROM test_offenders WHERE id = 3 /*route='/orders',user='7'*/$$);
CALL pg_temp.leak('other route', 'shop', $$/*route='/cart'*/ SELECT count(*) FROM test_offenders WHERE id = 1$$);
CALL pg_temp.leak('rails', 'shop', $$SELECT count(*) FROM test_offenders WHERE id = 1 /*controller:cart,action:show*/$$);
CALL pg_temp.leak('controller', 'shop', $$SELECT count(*) FROM test_offenders WHERE id = 1 /*controller:cart*/$$);
CALL pg_temp.leak('no route', 'shop', $$SELECT count(*) FROM test_offenders WHERE id = 1$$);
CALL pg_temp.leak('other form', 'shop', $$SELECT max(id) FROM test_offenders WHERE id = 1$$);
CALL pg_temp.leak('other application', 'report', $$SELECT count(*) FROM test_offenders WHERE id = 1$$);
SELECT application_name, route, episodes, outcomes, query, tags, database = current_database() AS database,
    role = current_user AS role
FROM pgleak.offenders ORDER BY application_name COLLATE "C", route COLLATE "C", query COLLATE "C";
SELECT count(DISTINCT query_id) AS forms FROM pgleak.offenders;

-- What is open goes on, although its row in history does not change until it ends.
SELECT h.idle_for AS idle_then FROM history h WHERE session = 'other route' \gset
CALL pg_temp.wait_for(format('SELECT longest_idle > %L::interval + ''100ms'' AND total_idle = longest_idle'
    ' FROM pgleak.offenders WHERE route = ''/cart''', :'idle_then'));
SELECT h.idle_for = :'idle_then' AS row_is_the_same FROM history h WHERE session = 'other route';
BEGIN;
SELECT o.last_seen = now() AS is_now, o.first_seen = h.detected_at AS is_first
FROM pgleak.offenders o, history h WHERE o.route = '/cart' AND h.session = 'other route';
COMMIT;
SELECT o.total_idle > o.longest_idle AS is_sum, o.first_seen = min(h.detected_at) AS is_first
FROM pgleak.offenders o, history h WHERE o.route = '/orders' AND h.session IN ('first', 'second', 'third')
GROUP BY o.total_idle, o.longest_idle, o.first_seen;
SELECT pg_temp.run('other route', 'COMMIT');
CALL pg_temp.wait_for_outcome('other route', 'committed');
SELECT o.last_seen = h.ended_at AS is_end, o.total_idle = h.idle_for AS is_idle, o.outcomes
FROM pgleak.offenders o, history h WHERE o.route = '/cart' AND h.session = 'other route';
-- He for whom others wait comes first, from the first moment on.
INSERT INTO test_offenders VALUES (1);
CALL pg_temp.leak('holder', 'shop', $$UPDATE test_offenders SET id = 2 /*route='/hold'*/$$);
CALL pg_temp.connect('waiter');
SELECT dblink_send_query('waiter', 'UPDATE test_offenders SET id = 3');
CALL pg_temp.wait_for($$SELECT blocked = 1 AND peak_blocked = 1 AND blocked_for > '0' FROM pgleak.offenders WHERE route = '/hold'$$);
SELECT route FROM pgleak.offenders LIMIT 1;
SELECT pg_temp.run('holder', 'COMMIT');
CALL pg_temp.wait_for_outcome('holder', 'committed');
SELECT o.blocked = h.blocked AS blocked, o.peak_blocked = h.blocked AS peak_blocked, o.blocked_for = h.blocked_for AS blocked_for
FROM pgleak.offenders o, history h WHERE o.route = '/hold' AND h.session = 'holder';
CALL pg_temp.disconnect_all();
CALL pg_temp.wait_for('SELECT bool_and(ended_at IS NOT NULL) FROM pgleak.history');
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;

-- By harm: the time that others waited, then idle time, whatever is unknown. Rows of another server, too.
TRUNCATE pgleak.history;
CREATE FUNCTION pg_temp.add(server integer, id integer, route text, idle interval, blocked integer, blocked_for interval,
    outcome text) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start, state,
        clock, detected_at, leak_after, limit_source, query, query_id, tags, idle_for, blocked, blocked_for, ended_at, outcome)
    VALUES (server, id, 0, 'd', 'r', 'a', '2026-01-01 00:00+00', 'idle in transaction', 'idle',
        timestamptz '2026-01-01 00:00+00' + id * interval '1 hour', '1s', 'server', format('statement %s of %s', id, server), 1,
        jsonb_build_object('route', route), idle, blocked, blocked_for,
        timestamptz '2026-01-01 00:30+00' + id * interval '1 hour', outcome)
    RETURNING leak_id;
$$;
SELECT count(pg_temp.add(server, id, route, idle::interval, blocked, blocked_for::interval, outcome))
FROM (VALUES (1, 1, 'idle long', '9 h', 0, '0', 'committed'),
             (1, 2, 'unknown', '8 h', NULL, NULL, 'committed'),
             (1, 3, 'blocks', '1 min', 3, '10 s', 'disconnected'),
             (1, 4, 'blocks', '2 min', 5, '20 s', 'disconnected'),
             (2, 5, 'blocks', '1 min', NULL, NULL, 'cancelled'),
             (1, 6, 'blocks more', '1 s', 1, '31 s', 'terminated'),
             (2, 1, 'idle longer', '10 h', NULL, NULL, 'server stopped'),
             (1, 7, 'never idle', NULL, 0, NULL, 'rolled back'))
    AS v(server, id, route, idle, blocked, blocked_for, outcome);
SET intervalstyle = postgres;
SET timezone = UTC;
SELECT route, episodes, total_idle, longest_idle, blocked, peak_blocked, blocked_for, outcomes FROM pgleak.offenders;
SELECT route, first_seen, last_seen, query, tags FROM pgleak.offenders;

-- For monitoring roles.
CREATE ROLE regress_pgleak_monitor IN ROLE pg_monitor;
SET ROLE regress_pgleak_monitor;
SELECT count(*) FROM pgleak.offenders;
DELETE FROM pgleak.offenders;
RESET ROLE;
DROP ROLE regress_pgleak_monitor;
TRUNCATE pgleak.history;
DROP TABLE test_offenders;
