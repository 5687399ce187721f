-- The trail: the first and last statements of a transaction as its client sent them, in pgleak.leaks while it leaks and in
-- pgleak.history afterwards. test/tap/040_trail.pl has what dblink cannot do: the extended protocol, other sizes.
\i test/regress/helpers.sql

CREATE TABLE test_trail (id integer PRIMARY KEY, name text);
INSERT INTO test_trail VALUES (1, 'one'), (2, 'two');
CREATE FUNCTION test_trail_function() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    row record;
    opened refcursor;
    result integer;
BEGIN
    FOR row IN SELECT id FROM test_trail LOOP
        result := row.id + (SELECT count(*) FROM test_trail);
    END LOOP;
    OPEN opened FOR SELECT 42;
    FETCH opened INTO result;
    CLOSE opened;
    EXECUTE 'CREATE TEMP TABLE test_trail_inside ()';
    EXECUTE 'DROP TABLE test_trail_inside';
    RETURN result;
END
$$;
CREATE FUNCTION test_trail_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM count(*) FROM test_trail;
    RETURN NEW;
END
$$;
CREATE TRIGGER test_trail BEFORE UPDATE ON test_trail FOR EACH ROW EXECUTE FUNCTION test_trail_trigger();
CREATE VIEW test_trail_view AS SELECT id, name FROM test_trail;
CREATE RULE test_trail_also AS ON UPDATE TO test_trail_view DO ALSO NOTIFY test_trail;
CREATE RULE test_trail_instead AS ON DELETE TO test_trail_view DO INSTEAD UPDATE test_trail SET name = NULL WHERE id = OLD.id;
ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';

-- The statements of a trail, one for each row.
CREATE FUNCTION pg_temp.statements(trail jsonb) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT e ->> 'query' FROM jsonb_array_elements(trail) WITH ORDINALITY AS t(e, number) ORDER BY number
$$;

CALL pg_temp.connect('app');
SELECT pg_temp.run('app', 'BEGIN');
SELECT pg_temp.run('app', '/*route=''/orders''*/ SELECT name FROM test_trail WHERE id = 1');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
-- Each has the time it began at, in ISO's form, and the identifier that it has everywhere.
SELECT array_agg(k ORDER BY k) AS keys FROM leak, jsonb_object_keys(trail -> 1) AS k;
SELECT (trail -> 0 ->> 'at')::timestamptz = l.xact_start AS begin_at, (trail -> 1 ->> 'at')::timestamptz = a.query_start AS at,
    trail -> 1 ->> 'at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00$' AS is_iso,
    (trail -> 1 ->> 'query_id')::bigint = l.query_id AS query_id
FROM leak l JOIN activity a USING (session);
-- The history has it from the beginning, and in the end all of it.
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM history)');
SELECT h.trail = l.trail AS is_same FROM history h JOIN leak l USING (leak_id);
-- What happened between them: silence too; the same statement in a row is one entry.
SELECT pg_temp.run('app', 'SELECT pg_sleep(0.02)');
SELECT pg_temp.run('app', 'SELECT 2') FROM generate_series(1, 3);
CALL pg_temp.wait_for('SELECT query = ''SELECT 2'' AND idle_for > ''50ms'' FROM leak');
SELECT n, e ->> 'query' AS query, (e ->> 'idle_before')::float > 0 AS has_idle, e -> 'count' AS count,
    (e ->> 'idle_within')::float > 0 AS has_idle_within, (e ->> 'last_at')::timestamptz > (e ->> 'at')::timestamptz AS is_later
FROM leak, jsonb_array_elements(trail) WITH ORDINALITY AS t(e, n) ORDER BY n;
SELECT t.activity, t.lasted > '0' AS lasted, t.idle > '0' AS idle, t.count, t.query
FROM leak, pgleak.timeline(leak_id) WITH ORDINALITY AS t(at, activity, lasted, idle, count, query_id, query, n) ORDER BY n;
-- One thing follows the other without a gap, from BEGIN until now.
SELECT bool_and(at + lasted = next_at) AS is_gapless, min(at) = min(xact_start) AS from_the_start
FROM (SELECT t.at, t.lasted, lead(t.at) OVER (ORDER BY t.n) AS next_at, xact_start
    FROM leak, pgleak.timeline(leak_id) WITH ORDINALITY AS t(at, activity, lasted, idle, count, query_id, query, n)) AS s
WHERE next_at IS NOT NULL;
SELECT lasted >= '20ms' AS slept FROM leak, pgleak.timeline(leak_id) t WHERE t.query = 'SELECT pg_sleep(0.02)';
-- To know what is open takes no leak and no limit.
SELECT o.pid = l.pid AS is_it, o.application_name, o.state, o.xact_start = l.xact_start AS start, o.idle_for > '0' AS idle, o.query,
    o.query_id = l.query_id AS query_id, o.tags = l.tags AS tags, o.route, o.code, o.trail = l.trail AS trail
FROM pgleak.open_transactions('app') o, leak l;
SELECT count(*) FROM pgleak.open_transactions('nobody');
SELECT count(*) FROM pgleak.open_transactions() WHERE pid = pg_backend_pid();
CREATE ROLE regress_pgleak_reader;
SET ROLE regress_pgleak_reader;
SELECT application_name, state, query, tags, trail FROM pgleak.open_transactions('app');
SELECT * FROM pgleak.timeline(1);
RESET ROLE;
DROP ROLE regress_pgleak_reader;
SELECT pg_temp.run('app', 'SELECT 2');
SELECT pg_temp.run('app', 'COMMIT');
CALL pg_temp.wait_for_outcome('app', 'committed');
SELECT pg_temp.statements(trail) FROM history;

-- Only what the client sent, one statement of its own message at a time; what it leads to is left out.
SELECT pg_temp.run('app', 'BEGIN; SELECT 1 ; SELECT test_trail_function();DO $x$BEGIN PERFORM test_trail_function(); END$x$');
SELECT pg_temp.run('app', 'UPDATE test_trail SET name = ''three'' WHERE id = 1');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK');
SELECT pg_temp.run('app', 'BEGIN; UPDATE test_trail_view SET name = ''four'' WHERE id = 1');
SELECT pg_temp.run('app', 'DELETE FROM test_trail_view WHERE id = 2');
SELECT pg_temp.run('app', 'CREATE TEMP TABLE test_trail_made AS SELECT test_trail_function() AS id');
SELECT pg_temp.run('app', 'COPY (SELECT test_trail_function()) TO ''/dev/null''');
SELECT pg_temp.run('app', 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT test_trail_function()') IS NOT NULL;
SELECT pg_temp.run('app', 'CREATE SCHEMA test_trail_schema CREATE TABLE inside (id integer PRIMARY KEY) CREATE VIEW shown AS SELECT 1');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK');

-- Prepared statements and cursors: what was sent, once.
SELECT pg_temp.run('app', 'BEGIN; PREPARE test_trail AS SELECT 1; EXECUTE test_trail');
SELECT pg_temp.run('app', 'EXECUTE test_trail');
SELECT pg_temp.run('app', 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)');
SELECT pg_temp.run('app', 'FETCH c');
SELECT pg_temp.run('app', 'FETCH c');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'COMMIT');

-- No more than the first two and the last six. A transaction begins with an empty one, whatever came before it.
SELECT pg_temp.run('app', 'SELECT 0');
SELECT pg_temp.run('app', 'BEGIN; ' || string_agg('SELECT ' || i, '; ')) FROM generate_series(1, 12) AS i;
CALL pg_temp.wait_for_leak('app');
SELECT string_agg(s, ', ') FROM leak, pg_temp.statements(trail) AS s;
SELECT t.activity, t.count, t.query, t.lasted IS NOT NULL AS is_known
FROM leak, pgleak.timeline(leak_id) t WHERE t.activity <> 'idle';
SELECT pg_temp.run('app', 'ROLLBACK AND CHAIN');
SELECT pg_temp.run('app', 'SELECT 13');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
-- However many transactions have followed before anybody looks, the history has the one that leaked.
SELECT pg_temp.run('app', 'COMMIT; BEGIN; SELECT 14; COMMIT; SELECT 15; BEGIN; SELECT 16');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
SELECT pg_temp.statements(trail) FROM history WHERE trail::text LIKE '%SELECT 13%';
SELECT pg_temp.run('app', 'COMMIT');

-- An aborted transaction still shows what led to it, the failed statement too if it began to run; and it goes on from a
-- savepoint.
SELECT pg_temp.run('app', 'BEGIN');
SELECT pg_temp.run('app', 'SAVEPOINT one');
SELECT pg_temp.run('app', 'SELECT 1 / (id - 1) FROM test_trail');
CALL pg_temp.wait_for_leak('app');
SELECT state, pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK TO one');
SELECT pg_temp.run('app', 'INSERT INTO test_trail VALUES (1)');
CALL pg_temp.wait_for_leak('app');
SELECT state, pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK TO one; RELEASE one; SELECT 1');
SELECT pg_temp.run('app', 'INSERT INTO test_trail VALUES (2)');
CALL pg_temp.wait_for_leak('app');
SELECT state, pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'SELECT ''ignored''');
SELECT pg_temp.run('app', 'ROLLBACK');
CALL pg_temp.wait_for_outcome('app', 'rolled back');
SELECT pg_temp.statements(trail) FROM history ORDER BY leak_id DESC LIMIT 8;
SELECT pg_temp.run('app', 'BEGIN');
CALL pg_temp.wait_for_leak('app');
SELECT pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK');
-- One that pgleak has rolled back in place as well.
SELECT pg_temp.run('app', 'BEGIN; UPDATE test_trail SET name = ''five''');
CALL pg_temp.wait_for_leak('app');
SELECT pgleak.cancel(pid) FROM leak;
SELECT state, pg_temp.statements(trail) FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK');
CALL pg_temp.wait_for_outcome('app', 'cancelled');
SELECT trail -> -1 ->> 'query' AS last FROM history ORDER BY leak_id DESC LIMIT 1;

-- On the transaction clock the statements run on.
SELECT pg_temp.run('app', 'SET pgleak.idle_leak_after = 0; SET pgleak.transaction_leak_after = ''50ms''');
SELECT pg_temp.run('app', 'BEGIN');
CALL pg_temp.wait_for_leak('app');
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM history WHERE outcome IS NULL');
SELECT dblink_send_query('app', 'SELECT pg_sleep(600)');
CALL pg_temp.wait_for('SELECT state = ''active'' AND trail -> -1 ->> ''query'' = query FROM leak');
SELECT pg_temp.statements(trail) FROM leak;
SELECT dblink_cancel_query('app') AS cancel;
CALL pg_temp.wait_for('SELECT state = ''idle in transaction (aborted)'' FROM leak');
SELECT pg_temp.statements(trail) FROM leak;
SELECT dblink_disconnect('app');
CALL pg_temp.wait_for_outcome('app', 'disconnected');
SELECT pg_temp.statements(trail) FROM history ORDER BY leak_id DESC LIMIT 2;

-- A parallel query is its leader's statement alone.
CALL pg_temp.connect('leader');
SELECT pg_temp.run('leader', 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0');
SELECT pg_temp.run('leader', 'BEGIN; SELECT count(*) FROM test_trail');
CALL pg_temp.wait_for_leak('leader');
SELECT pg_temp.statements(trail) FROM leak;

-- Text of any kind: cut between two characters, quotes, control characters, other encodings.
CALL pg_temp.connect('text');
SELECT pg_temp.run('text', 'BEGIN');
SELECT length(pg_temp.run('text', 'SELECT ''' || repeat(chr(228), 100) || ''''));
SELECT length(pg_temp.run('text', 'SELECT  ''' || repeat(chr(8364), 100) || ''''));
SELECT pg_temp.run('text', E'SELECT ''"\\\x01\x1f\x7f\n\u00e4''') IS NOT NULL;
CALL pg_temp.wait_for_leak('text');
SELECT octet_length(s), translate(s, chr(228) || chr(8364), 'ae') AS statement
FROM leak, pg_temp.statements(trail - 3) AS s WHERE session = 'text';
SELECT (trail -> -1 ->> 'query') = E'SELECT ''"\\\x01\x1f\x7f\n\u00e4''' AS is_equal FROM leak WHERE session = 'text';
SELECT pg_temp.run('text', 'COMMIT');
CALL pg_temp.wait_for_outcome('text', 'committed');
SELECT (trail -> 3 ->> 'query') = E'SELECT ''"\\\x01\x1f\x7f\n\u00e4''' AS is_equal FROM history WHERE session = 'text';
CREATE DATABASE regress_pgleak_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE regress_pgleak_sql_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;
CALL pg_temp.connect('latin1', 'dbname=regress_pgleak_latin1');
CALL pg_temp.connect('sql_ascii', 'dbname=regress_pgleak_sql_ascii');
SELECT pg_temp.run(s, 'SET pgleak.idle_leak_after = ''50ms''') FROM unnest(ARRAY['latin1', 'sql_ascii']) AS s;
SELECT pg_temp.run(s, 'BEGIN; SELECT ''' || chr(228) || '''') = chr(228) FROM unnest(ARRAY['latin1', 'sql_ascii']) AS s;
CALL pg_temp.wait_for_leak('latin1', 'sql_ascii');
SELECT session, replace(trail -> 1 ->> 'query', chr(228), '<a umlaut>') FROM leak WHERE session IN ('latin1', 'sql_ascii') ORDER BY 1;
DROP DATABASE regress_pgleak_latin1 WITH (FORCE);
DROP DATABASE regress_pgleak_sql_ascii WITH (FORCE);
CALL pg_temp.wait_for_outcome('sql_ascii', 'disconnected');
CALL pg_temp.wait_for_outcome('latin1', 'disconnected');
SELECT session, replace(trail -> 1 ->> 'query', chr(228), '<a umlaut>') FROM history WHERE session IN ('latin1', 'sql_ascii') ORDER BY 1;

CALL pg_temp.disconnect_all();
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;
DROP VIEW test_trail_view;
DROP TABLE test_trail;
DROP FUNCTION test_trail_function, test_trail_trigger;
SELECT events_dropped, recorder_errors, last_error FROM pgleak.stats;
