-- What stays of a leak: one row in pgleak.history from its detection to its end, every way in which it can end, the
-- notifications, and names and statements that are hard to store.
\i test/regress/helpers.sql

CREATE TABLE test_history (id integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
INSERT INTO test_history VALUES (1);
ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';
CALL pg_temp.wait_for('SELECT pgleak.scan() = 0 AND events_written >= events_queued FROM pgleak.stats');
SELECT pgleak.reset();
SELECT leaks, events_queued, events_written, events_dropped, recorder_errors, last_error, last_error_at, cancels,
    cancels_failed, terminates, skipped
FROM pgleak.stats;

-- The row is there while the leak is open, and is completed when it ends.
CALL pg_temp.connect('open');
SELECT pg_temp.run('open', 'BEGIN; SELECT ''first''');
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM history WHERE session = ''open''');
SELECT database = current_database() AS database, role = current_user AS role, application_name, client_addr, client_port,
    state, clock, leak_after, limit_source, query, ended_at, duration, outcome
FROM history;
SELECT h.leak_id = l.leak_id AS leak_id, h.xact_start = l.xact_start AS xact_start, h.idle_since = l.idle_since AS idle_since,
    h.detected_at = l.detected_at AS detected_at, h.query_id = l.query_id AS query_id,
    h.idle_for >= h.leak_after AS idle_for, h.transaction_age >= h.idle_for AS transaction_age
FROM history h JOIN leak l USING (session);
SELECT h.system_identifier = s.system_identifier AS system_identifier FROM history h, pg_control_system() s;
-- It shows the longest time the session was idle, whatever it did later, and the statement it was detected with.
CALL pg_temp.wait_for('SELECT idle_for >= ''200ms'' FROM leak');
SELECT pgleak.scan() AS open_leaks;
SELECT pg_temp.run('open', 'SELECT ''second''');
SELECT pg_temp.run('open', 'COMMIT');
CALL pg_temp.wait_for_outcome('open', 'committed');
SELECT query, outcome, idle_for >= '200ms' AS idle_for, transaction_age >= idle_for AS transaction_age,
    ended_at >= detected_at AS ended_at, duration >= '0' AS duration
FROM history;
CALL pg_temp.wait_for('SELECT events_written = events_queued FROM pgleak.stats');
SELECT leaks, events_queued, events_dropped, recorder_errors, is_recording FROM pgleak.stats;

-- Every way to end.
CREATE FUNCTION pg_temp.leak_until(session text, ending text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.run(session, 'BEGIN');
    PERFORM pg_temp.run(session, 'INSERT INTO test_history SELECT 2');
    CALL pg_temp.wait_for_leak(session);
    RETURN pg_temp.run(session, ending);
END
$$;
CALL pg_temp.connect('rollback');
SELECT pg_temp.leak_until('rollback', 'ROLLBACK');
CALL pg_temp.wait_for_outcome('rollback', 'rolled back');
CALL pg_temp.connect('error');
SELECT pg_temp.leak_until('error', 'SELECT 1 / 0');
SELECT pg_temp.run('error', 'COMMIT');
CALL pg_temp.wait_for_outcome('error', 'rolled back');
CALL pg_temp.connect('failing commit');
SELECT pg_temp.leak_until('failing commit', 'INSERT INTO test_history VALUES (1)');
SELECT pg_temp.run('failing commit', 'COMMIT');
CALL pg_temp.wait_for_outcome('failing commit', 'rolled back');
CALL pg_temp.connect('savepoint');
SELECT pg_temp.leak_until('savepoint', 'SAVEPOINT one; INSERT INTO test_history VALUES (3)');
SELECT pg_temp.run('savepoint', 'SELECT 1 / 0');
SELECT pg_temp.run('savepoint', 'ROLLBACK TO one');
SELECT pg_temp.run('savepoint', 'COMMIT');
CALL pg_temp.wait_for_outcome('savepoint', 'committed');
DELETE FROM test_history WHERE id = 2;
CALL pg_temp.connect('prepare');
SELECT pg_temp.leak_until('prepare', 'PREPARE TRANSACTION ''regress_pgleak''');
CALL pg_temp.wait_for_outcome('prepare', 'prepared');
ROLLBACK PREPARED 'regress_pgleak';
CALL pg_temp.connect('two in one message');
SELECT pg_temp.leak_until('two in one message', 'ROLLBACK; BEGIN');
CALL pg_temp.wait_for_leak('two in one message');
SELECT pg_temp.run('two in one message', 'COMMIT; BEGIN; ROLLBACK');
CALL pg_temp.wait_for_outcome('two in one message', 'committed');
CALL pg_temp.connect('chain');
SELECT pg_temp.leak_until('chain', 'ROLLBACK AND CHAIN');
CALL pg_temp.wait_for_leak('chain');
SELECT pg_temp.run('chain', 'COMMIT AND CHAIN');
CALL pg_temp.wait_for_leak('chain');
SELECT pg_temp.run('chain', 'ROLLBACK');
CALL pg_temp.wait_for_outcome('chain', 'rolled back');
CALL pg_temp.connect('aborted');
SELECT pg_temp.run('aborted', 'BEGIN');
SELECT pg_temp.run('aborted', 'SELECT 1 / 0');
CALL pg_temp.wait_for_leak('aborted');
SELECT pg_temp.run('aborted', 'ROLLBACK; BEGIN; COMMIT');
CALL pg_temp.wait_for_outcome('aborted', 'rolled back');
CALL pg_temp.connect('disconnect');
SELECT pg_temp.leak_until('disconnect', 'SELECT 1');
SELECT dblink_disconnect('disconnect');
CALL pg_temp.wait_for_outcome('disconnect', 'disconnected');
CALL pg_temp.connect('disconnect aborted');
SELECT pg_temp.leak_until('disconnect aborted', 'SELECT 1 / 0');
SELECT dblink_disconnect('disconnect aborted');
CALL pg_temp.wait_for_outcome('disconnect aborted', 'disconnected');
CALL pg_temp.connect('killed');
SELECT pg_temp.leak_until('killed', 'SELECT 1');
SELECT pg_terminate_backend(pid) FROM session WHERE session = 'killed';
CALL pg_temp.wait_for_outcome('killed', 'disconnected');
CALL pg_temp.connect('timeout');
SELECT pg_temp.leak_until('timeout', 'SET idle_in_transaction_session_timeout = ''10ms''');
CALL pg_temp.wait_for_outcome('timeout', 'disconnected');
SELECT session COLLATE "C" AS session, string_agg(outcome, ', ' ORDER BY leak_id) AS outcomes FROM history GROUP BY 1 ORDER BY 1;
CALL pg_temp.wait_for('SELECT events_written = events_queued FROM pgleak.stats');
SELECT leaks, events_queued, events_dropped, recorder_errors FROM pgleak.stats;

-- NOTIFY: small JSON when an episode opens and when it ends.
CALL pg_temp.connect('listener');
SELECT pg_temp.run('listener', 'LISTEN pgleak');
CREATE TEMP TABLE notification (payload jsonb);
CREATE FUNCTION pg_temp.has_notification(event text) RETURNS boolean LANGUAGE sql AS $$
    SELECT count(pg_temp.run('listener', 'SELECT 1'));
    INSERT INTO notification SELECT extra::jsonb FROM dblink_get_notify('listener') WHERE notify_name = 'pgleak';
    SELECT EXISTS (SELECT FROM notification WHERE payload ->> 'event' = has_notification.event);
$$;
CALL pg_temp.connect('quote', 'application_name=''a "quoted" \\ name''');
SELECT pg_temp.run('quote', 'BEGIN');
CALL pg_temp.wait_for('SELECT pg_temp.has_notification(''opened'')');
SELECT pg_temp.run('quote', 'COMMIT');
CALL pg_temp.wait_for('SELECT pg_temp.has_notification(''ended'')');
SELECT payload - 'pid' - 'leak_id' - 'role' - 'duration' AS payload, payload -> 'pid' = to_jsonb(h.pid) AS pid,
    payload -> 'leak_id' = to_jsonb(h.leak_id) AS leak_id, payload -> 'role' = to_jsonb(h.role) AS role,
    jsonb_typeof(payload -> 'duration') AS duration
FROM notification n JOIN history h ON h.session = 'quote'
WHERE n.payload ->> 'event' <> 'verdict'    -- which comes if a look finds the pool leaking just then
ORDER BY payload ->> 'event' DESC;

-- Names are those of the login, whatever they hold and whatever becomes of them.
CREATE ROLE U&"regress_pgleak\0009""two"" 'quotes'" LOGIN;
CALL pg_temp.connect('name', E'user=''regress_pgleak\t"two" \\''quotes\\'''' application_name=''a "quoted" \\''name\\''''');
ALTER ROLE U&"regress_pgleak\0009""two"" 'quotes'" RENAME TO regress_pgleak_renamed;
SELECT pg_temp.run('name', 'BEGIN');
CALL pg_temp.wait_for_leak('name');
SELECT replace(role, E'\t', '<tab>') AS role, application_name FROM leak WHERE session = 'name';
SELECT pg_temp.run('name', 'COMMIT');
CALL pg_temp.wait_for_outcome('name', 'committed');
SELECT replace(role, E'\t', '<tab>') AS role, application_name FROM history WHERE session = 'name';
SELECT dblink_disconnect('name');
DROP ROLE regress_pgleak_renamed;

-- A statement that the server cut in the middle of a character.
CALL pg_temp.connect('long');
SELECT pg_temp.run('long', 'BEGIN');
SELECT length(pg_temp.run('long', 'SELECT ''' || repeat(chr(228), 1000) || ''''));
CALL pg_temp.wait_for_leak('long');
SELECT l.query = a.query AS query, octet_length(l.query) FROM leak l JOIN activity a USING (session) WHERE session = 'long';
SELECT pg_temp.run('long', 'COMMIT');
CALL pg_temp.wait_for_outcome('long', 'committed');
SELECT query = 'SELECT ''' || repeat(chr(228), 507) AS query FROM history WHERE session = 'long';

-- A statement in another database and its encoding; dropping that database hangs on nobody.
CREATE DATABASE regress_pgleak_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
CREATE DATABASE regress_pgleak_sql_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;
CALL pg_temp.connect('latin1', 'dbname=regress_pgleak_latin1');
CALL pg_temp.connect('sql_ascii', 'dbname=regress_pgleak_sql_ascii');
SELECT pg_temp.run(s, 'SET pgleak.idle_leak_after = ''50ms''') FROM unnest(ARRAY['latin1', 'sql_ascii']) AS s;
SELECT pg_temp.run(s, 'BEGIN; SELECT ''' || chr(228) || '''') = chr(228) FROM unnest(ARRAY['latin1', 'sql_ascii']) AS s;
CALL pg_temp.wait_for_leak('latin1', 'sql_ascii');
SELECT session, database, replace(query, chr(228), '<a umlaut>') AS query
FROM leak WHERE session IN ('latin1', 'sql_ascii') ORDER BY 1;
DROP DATABASE regress_pgleak_latin1 WITH (FORCE);
DROP DATABASE regress_pgleak_sql_ascii WITH (FORCE);
CALL pg_temp.wait_for_outcome('latin1', 'disconnected');
CALL pg_temp.wait_for_outcome('sql_ascii', 'disconnected');
SELECT session, database, replace(query, chr(228), '<a umlaut>') AS query, outcome
FROM history WHERE session IN ('latin1', 'sql_ascii') ORDER BY 1;

CALL pg_temp.disconnect_all();
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;
DROP TABLE test_history;
SELECT events_dropped, recorder_errors, last_error FROM pgleak.stats;
