-- Who did it: the tags that applications write into comments and into pgleak.tags, from the statement to pgleak.leaks and
-- pgleak.history, and query_id, which does not depend on them.
\i test/regress/helpers.sql

ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';

SELECT pgleak.reset();
-- At the start, at the end, of both kinds, of neither, and in what only looks like a comment. The transaction begins in the
-- same message, or the session might be a leak before it comes to the statement.
CREATE TEMP TABLE sample (session text PRIMARY KEY, statement text NOT NULL);
INSERT INTO sample VALUES
    ('at the start', $$/*route='%2Forders',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/ BEGIN; SELECT 1$$),
    ('at the end', $$BEGIN; SELECT 1 /*controller='index',framework='django%3A2.2.3',it='\'s%20so'*/;$$),
    ('both ends', $$-- a line
/* prose */ /*a='1'*/ BEGIN; SELECT 1; /*a:2,b:3*/ -- end$$),
    ('marginalia', $$BEGIN; SELECT 1 /*application:BCX,controller:orders,action:show,line:/app/x.rb:3:in `a, b'*/$$),
    ('none', $$BEGIN; SELECT 1 /* this is slow: see above */$$),
    ('hint', $$/*+ IndexScan(t) */ BEGIN; SELECT 1$$),
    ('string', $$BEGIN; SELECT '/*a:1*/' || E'\'/*b:2*/' || $tag$ /*c:3*/ $tag$ AS "/*d:4*/"$$),
    ('nested', $$/* /*a:1*/ b:2 */ BEGIN; SELECT 1$$),
    ('characters', $$/*plain='é',encoded='%C3%A9',both='é%E2%82%AC',invalid='%E9x%FFy',control='%01%0A',nul='%00',json='"\%22%5C'*/ BEGIN; SELECT 1$$),
    ('code', $$BEGIN; SELECT 1 /*code.filepath='app%2Forders.py',code.lineno='42',code.function='get_orders'*/$$),
    ('cut before', '/*route=''/orders''*/ BEGIN; SELECT ''' || repeat('x', 2000) || ''''),
    ('cut after', 'BEGIN; SELECT ''' || repeat('x', 2000) || ''' /*route=''/orders''*/'),
    ('cut in the middle', 'BEGIN; SELECT ''' || repeat('x', 974) || ''' /*route=''/orders'',action=''show%20one''*/'),
    ('cut character', '/*a=''1'',b=''' || repeat('é', 600) || '''*/ BEGIN; SELECT 1'),
    ('long', '/*a=''' || repeat('é', 257) || ''',b=''2''*/ BEGIN; SELECT 1');
DO $$
DECLARE
    s pg_temp.sample;
BEGIN
    FOR s IN SELECT * FROM sample LOOP
        CALL pg_temp.connect(s.session);
        PERFORM pg_temp.run(s.session, s.statement);
    END LOOP;
END
$$;
CALL pg_temp.wait_for('SELECT count(*) = (SELECT count(*) FROM sample) FROM leak JOIN sample USING (session)');
SELECT session COLLATE "C" AS session, regexp_replace(tags::text, 'é{9,}', '<many times e acute>') AS tags FROM leak ORDER BY 1;
SELECT session, length(tags ->> 'a') AS a, length(tags ->> 'b') AS b FROM leak WHERE session IN ('long', 'cut character') ORDER BY 1;
SELECT session, code FROM leak WHERE code IS NOT NULL;
SELECT statement FROM pgleak.top JOIN leak USING (pid) WHERE code IS NOT NULL;
-- Those of the statement that was current then are recorded.
CALL pg_temp.wait_for('SELECT count(*) = (SELECT count(*) FROM sample) FROM history JOIN sample USING (session)');
SELECT session, h.tags, l.tags FROM history h JOIN leak l USING (session)
WHERE (h.tags, h.code) IS DISTINCT FROM (l.tags, l.code);
-- Statements without any leave them in place; the live view shows those of the next one that has some.
SELECT pg_temp.run('at the start', 'SELECT NULL');
SELECT pg_temp.run('at the start', 'DECLARE c CURSOR FOR SELECT 1');
SELECT pg_temp.run('at the start', 'FETCH c');
SELECT pg_temp.run('at the start', '/* ping */ SHOW timezone');
CALL pg_temp.wait_for($$SELECT query LIKE '%SHOW%' FROM leak WHERE session = 'at the start'$$);
SELECT tags ->> 'route' AS route FROM leak WHERE session = 'at the start';
SELECT pg_temp.run('at the start', 'SELECT 1 /*route:next*/');
CALL pg_temp.wait_for($$SELECT tags = '{"route": "next"}' FROM leak WHERE session = 'at the start'$$);
SELECT tags ->> 'route' AS route FROM history WHERE session = 'at the start';
SELECT pg_temp.run(session, 'COMMIT') FROM sample WHERE session = 'at the start';
CALL pg_temp.wait_for_outcome('at the start', 'committed');
SELECT tags ->> 'route' AS route FROM history WHERE session = 'at the start';
-- None of it caused an error.
SELECT recorder_errors, last_error FROM pgleak.stats;
CALL pg_temp.disconnect_all();

-- The setting says it for statements that nobody can add to. Comments win; what is SET LOCAL goes with its transaction, but
-- not with the error that ended it.
SET pgleak.tags = 'route';
SET pgleak.tags = 'route=/orders';
SET pgleak.tags = 'a=''1''*/; DROP TABLE orders; /*';
DO $$
DECLARE
    too_long text[] := ARRAY['a=''' || repeat('x', 600) || '''', 'a=''' || repeat('x', 996) || ''''];
    tags text;
    detail text;
BEGIN
    FOREACH tags IN ARRAY too_long LOOP
        BEGIN
            PERFORM set_config('pgleak.tags', tags, false);
        EXCEPTION WHEN invalid_parameter_value THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            RAISE NOTICE '%', detail;
        END;
    END LOOP;
END
$$;
SHOW pgleak.tags;
SET pgleak.tags = 'route=''%2Forders'',job=''a%27b''';
SHOW pgleak.tags;
RESET pgleak.tags;
CALL pg_temp.connect('app');
SELECT pg_temp.run('app', 'BEGIN');
SELECT pg_temp.run('app', $$SET LOCAL pgleak.tags = 'route=''/setting'',job=''1'''$$);
CALL pg_temp.wait_for_leak('app');
SELECT tags FROM leak;
SELECT pg_temp.run('app', $$SELECT 1 /*route='/comment'*/$$);
SELECT pg_temp.run('app', $$SELECT set_config('pgleak.tags', 'job=''2''', true)$$);
SELECT tags FROM leak;
SELECT pg_temp.run('app', 'SAVEPOINT s');
SELECT pg_temp.run('app', $$SET LOCAL pgleak.tags = 'job=''3'''$$);
SELECT pg_temp.run('app', 'ROLLBACK TO s');
SELECT pg_temp.run('app', 'SELECT 1');
SELECT tags FROM leak;
SELECT pg_temp.run('app', 'SELECT 1/0');
SELECT state, tags FROM leak;
SELECT pg_temp.run('app', 'ROLLBACK');
SELECT pg_temp.run('app', 'BEGIN');
CALL pg_temp.wait_for_leak('app');
SELECT tags FROM leak;
CALL pg_temp.disconnect_all();
-- Every user may set it, and it counts from the first statement on.
CREATE ROLE regress_pgleak_job LOGIN;
ALTER ROLE regress_pgleak_job SET pgleak.tags = 'job=''nightly''';
CALL pg_temp.connect('app', 'user=regress_pgleak_job');
SELECT pg_temp.run('app', 'BEGIN');
CALL pg_temp.wait_for_leak('app');
SELECT tags FROM leak;
CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_job;

-- query_id is there although nobody asked for it, and the same whatever the comments say.
SHOW compute_query_id;
CREATE TABLE test_tags (id integer);
CALL pg_temp.connect('plain');
CALL pg_temp.connect('one');
CALL pg_temp.connect('other');
SELECT pg_temp.run('plain', 'BEGIN; SELECT count(*) FROM test_tags WHERE id = 1');
SELECT pg_temp.run('one', '/*route=''/one''*/ BEGIN; SELECT count(*) FROM test_tags WHERE id = 2');
SELECT pg_temp.run('other', 'BEGIN; SELECT count(*) FROM test_tags /* a comment */ WHERE id = 3 /*route=''/other''*/');
CALL pg_temp.wait_for('SELECT count(*) = 3 FROM history');
SELECT count(*), count(query_id), count(DISTINCT query_id) AS forms FROM leak;
SELECT count(*), count(query_id), count(DISTINCT query_id) AS forms FROM history;
SELECT DISTINCT l.query_id = h.query_id AS is_same FROM leak l JOIN history h USING (session);
CALL pg_temp.disconnect_all();

-- The tags are part of the statement: who may not see it does not see them.
CREATE ROLE regress_pgleak_app LOGIN;
CREATE ROLE regress_pgleak_reader;
GRANT SELECT ON leak TO PUBLIC;
CALL pg_temp.connect('app', 'user=regress_pgleak_app');
SELECT pg_temp.run('app', '/*route=''/secret''*/ BEGIN; SELECT 1');
CALL pg_temp.wait_for_leak('app');
SET ROLE regress_pgleak_reader;
SELECT l.query, l.tags FROM pgleak.leaks l;
SELECT count(*) FROM pgleak.leaks l WHERE l::text LIKE '%/secret%';
SELECT * FROM pgleak.offenders;
SET ROLE regress_pgleak_app;
SELECT l.query, l.tags FROM pgleak.leaks l;
RESET ROLE;
CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_app, regress_pgleak_reader;
DROP TABLE test_tags;
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;
