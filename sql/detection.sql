-- What is a leak and what is not: both clocks, each state a transaction can be in, and sessions that are legitimately idle.
\i test/regress/helpers.sql

-- Without autovacuum, which would change a plan.
CREATE TABLE test_detection (id integer PRIMARY KEY, name text) WITH (autovacuum_enabled = off);
INSERT INTO test_detection SELECT i, 'row ' || i FROM generate_series(1, 100) AS i;

-- The idle clock. The scanner finds it by itself, and its end.
CALL pg_temp.connect('idle');
SELECT pg_temp.run('idle', 'SET pgleak.idle_leak_after = ''50ms''');
SELECT pg_temp.run('idle', 'BEGIN; SELECT name FROM test_detection WHERE id = 1');
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM leak WHERE session = ''idle'')', scans => false);
SELECT database = current_database() AS database, role = current_user AS role, application_name, client_addr, client_port,
    state, clock, leak_after, limit_source, query
FROM leak WHERE session = 'idle';
SELECT l.xact_start = a.xact_start AS xact_start, l.idle_since = a.state_change AS idle_since,
    l.query_id = a.query_id AS query_id, l.idle_for >= l.leak_after AS idle_for,
    l.transaction_age >= l.idle_for AS transaction_age, l.detected_at > l.idle_since AS detected_at
FROM leak l JOIN activity a USING (session) WHERE session = 'idle';
SELECT pgleak.scan() AS open_leaks;
-- It survives a statement that does not end the transaction, and is still the same one.
SELECT leak_id AS first_leak FROM leak WHERE session = 'idle' \gset
SELECT pg_temp.run('idle', 'SELECT name FROM test_detection WHERE id = 2');
SELECT pgleak.scan() AS open_leaks;
SELECT leak_id = :first_leak AS is_same, query FROM leak WHERE session = 'idle';
SELECT pg_temp.run('idle', 'COMMIT');
CALL pg_temp.wait_for('SELECT NOT EXISTS (SELECT FROM leak WHERE session = ''idle'')', scans => false);
SELECT pgleak.scan() AS open_leaks;
-- The next transaction is another leak.
SELECT pg_temp.run('idle', 'BEGIN');
CALL pg_temp.wait_for_leak('idle');
SELECT leak_id > :first_leak AS is_another FROM leak WHERE session = 'idle';
SELECT pg_temp.run('idle', 'ROLLBACK');
CALL pg_temp.wait_for_no_leak('idle');

-- The transaction clock: whatever the session does.
CALL pg_temp.connect('transaction');
SELECT pg_temp.run('transaction', 'SET pgleak.idle_leak_after = 0; SET pgleak.transaction_leak_after = ''50ms''');
SELECT pg_temp.run('transaction', 'BEGIN');
SELECT dblink_send_query('transaction', 'SELECT pg_sleep(600)');
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM leak WHERE state = ''active'')', scans => false);
SELECT state, clock, leak_after, limit_source, idle_since, idle_for, transaction_age >= leak_after AS transaction_age, query
FROM leak WHERE session = 'transaction';
-- It goes on when the transaction fails, until the session leaves its block.
SELECT leak_id AS first_leak FROM leak WHERE session = 'transaction' \gset
SELECT dblink_cancel_query('transaction');
CALL pg_temp.wait_for('SELECT state = ''idle in transaction (aborted)'' FROM activity WHERE session = ''transaction''');
SELECT state, clock, leak_id = :first_leak AS is_same, xact_start IS NOT NULL AS has_start,
    transaction_age >= leak_after AS transaction_age, idle_for < transaction_age AS idle_for
FROM leak WHERE session = 'transaction';
SELECT * FROM dblink_get_result('transaction', false) AS t(result text);
SELECT * FROM dblink_get_result('transaction', false) AS t(result text);
SELECT pg_temp.run('transaction', 'ROLLBACK');
CALL pg_temp.wait_for_no_leak('transaction');
-- A single long statement is a transaction too.
SELECT dblink_send_query('transaction', 'SELECT pg_sleep(600)');
CALL pg_temp.wait_for_leak('transaction');
SELECT state, clock FROM leak WHERE session = 'transaction';
SELECT dblink_cancel_query('transaction');
CALL pg_temp.wait_for_no_leak('transaction');

-- A global session: a statement every now and then resets the idle clock, and only the transaction clock sees it. What reads
-- nothing is a keepalive, which does not.
CALL pg_temp.connect('global');
SELECT pg_temp.run('global', 'SET pgleak.idle_leak_after = ''2s''; SET pgleak.transaction_leak_after = ''3s''');
SELECT pg_temp.run('global', 'BEGIN');
CALL pg_temp.wait_for($$
    SELECT pg_temp.run('global', 'SELECT count(*) FROM pg_class WHERE false') = '0' AND EXISTS (SELECT FROM leak WHERE session = 'global')
$$);
SELECT clock, leak_after, idle_for < leak_after AS idle_for, transaction_age >= leak_after AS transaction_age
FROM leak WHERE session = 'global';
SELECT pg_temp.run('global', 'COMMIT');

-- Each state that a transaction can be idle in.
ALTER DATABASE contrib_regression SET pgleak.idle_leak_after = '50ms';
CALL pg_temp.connect('aborted');
CALL pg_temp.connect('aborted in savepoint');
CALL pg_temp.connect('cursor');
CALL pg_temp.connect('repeatable read');
CALL pg_temp.connect('serializable');
CALL pg_temp.connect('empty');
CALL pg_temp.connect('writer');
SELECT pg_temp.run('aborted', 'BEGIN');
SELECT pg_temp.run('aborted', 'SELECT 1 / 0');
SELECT pg_temp.run('aborted in savepoint', 'BEGIN; SELECT 1; SAVEPOINT one');
SELECT pg_temp.run('aborted in savepoint', 'SELECT 1 / 0');
SELECT pg_temp.run('cursor', 'BEGIN; DECLARE c CURSOR FOR SELECT name FROM test_detection; FETCH 1 FROM c');
SELECT pg_temp.run('repeatable read', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT name FROM test_detection LIMIT 1');
SELECT pg_temp.run('serializable', 'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT name FROM test_detection LIMIT 1');
SELECT pg_temp.run('empty', 'BEGIN');
SELECT pg_temp.run('writer', 'BEGIN; UPDATE test_detection SET name = ''changed'' WHERE id = 1');
CALL pg_temp.wait_for_leak('aborted', 'aborted in savepoint', 'cursor', 'repeatable read', 'serializable', 'empty', 'writer');
SELECT session COLLATE "C" AS session, state, clock, xact_start IS NOT NULL AS has_start, query FROM leak ORDER BY 1;
-- The server itself no longer knows when a plain aborted transaction began.
SELECT xact_start FROM activity WHERE session = 'aborted';
-- An aborted one is followed until it is rolled back: in the savepoint case it may go on.
SELECT leak_id AS first_leak FROM leak WHERE session = 'aborted in savepoint' \gset
SELECT pg_temp.run('aborted in savepoint', 'ROLLBACK TO one');
SELECT pgleak.scan() AS open_leaks;
SELECT state, leak_id = :first_leak AS is_same FROM leak WHERE session = 'aborted in savepoint';
SELECT leak_id AS first_leak FROM leak WHERE session = 'aborted' \gset
SELECT pg_temp.run('aborted', 'SELECT 1');
SELECT pgleak.scan() AS open_leaks;
SELECT state, leak_id = :first_leak AS is_same FROM leak WHERE session = 'aborted';
SELECT pg_temp.run(session, 'ROLLBACK') FROM leak;
SELECT pgleak.scan() AS open_leaks;
CALL pg_temp.disconnect_all();

-- PREPARE TRANSACTION takes the transaction away: the session is clean, for as long as it may be.
CALL pg_temp.connect('two phases');
SELECT pg_temp.run('two phases', 'SET pgleak.transaction_leak_after = ''50ms''');
SELECT pg_temp.run('two phases', 'BEGIN; UPDATE test_detection SET name = ''changed'' WHERE id = 2');
CALL pg_temp.wait_for_leak('two phases');
SELECT pg_temp.run('two phases', 'PREPARE TRANSACTION ''regress_pgleak''');
CALL pg_temp.wait_for_no_leak('two phases');

-- Not leaks, although their limits are as short as that of the session below and passed long before.
CALL pg_temp.connect('idle outside of a transaction');
CALL pg_temp.connect('copy from');
SELECT pg_temp.run('copy from', 'BEGIN');
SELECT dblink_send_query('copy from', 'COPY test_detection FROM STDIN');
CALL pg_temp.connect('copy to');
SELECT pg_temp.run('copy to', 'BEGIN');
SELECT dblink_send_query('copy to', 'COPY (SELECT repeat(''x'', 1000000) FROM generate_series(1, 1000)) TO STDOUT');
CALL pg_temp.connect('busy');
SELECT pg_temp.run('busy', 'BEGIN');
SELECT dblink_send_query('busy', 'SELECT pg_sleep(600)');
CALL pg_temp.connect('walsender', 'replication=database');
SELECT pg_temp.run('walsender', 'BEGIN');
CALL pg_temp.wait_for($$
    SELECT count(*) = 6 AND bool_and(clock_timestamp() - state_change > '150ms')
    FROM activity
    WHERE session IN ('two phases', 'idle outside of a transaction', 'busy')
       OR session = 'copy from' AND wait_event = 'ClientRead' OR session = 'copy to' AND wait_event = 'ClientWrite'
       OR session = 'walsender' AND state = 'idle in transaction'
$$);
CALL pg_temp.connect('leak');
SELECT pg_temp.run('leak', 'BEGIN');
CALL pg_temp.wait_for_leak('leak');
SELECT session FROM leak;
SELECT session COLLATE "C" AS session, backend_type, state, wait_event FROM activity ORDER BY 1;
ROLLBACK PREPARED 'regress_pgleak';
CALL pg_temp.disconnect_all();
ALTER DATABASE contrib_regression RESET pgleak.idle_leak_after;

-- A parallel query is its leader's leak, not its workers'.
CALL pg_temp.connect('leader');
SELECT pg_temp.run('leader', 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;'
    ' SET parallel_leader_participation = off; SET pgleak.transaction_leak_after = ''50ms''');
SELECT dblink_send_query('leader', 'SELECT count(*) FROM test_detection WHERE pg_sleep(600) IS NULL');
CALL pg_temp.wait_for($$
    SELECT bool_and(clock_timestamp() - w.xact_start > '100ms')
    FROM pg_stat_activity w JOIN session s ON s.pid = w.leader_pid
    WHERE w.backend_type = 'parallel worker'
$$);
CALL pg_temp.wait_for_leak('leader');
SELECT a.backend_type, l.state, l.clock
FROM pgleak.leaks l JOIN pg_stat_activity a USING (pid) JOIN session s ON s.pid IN (a.pid, a.leader_pid)
WHERE s.session = 'leader';
SELECT dblink_cancel_query('leader');

-- Every superuser's and every ordinary role's session alike.
CREATE ROLE regress_pgleak_superuser SUPERUSER LOGIN;
CREATE ROLE regress_pgleak_user LOGIN;
ALTER ROLE regress_pgleak_superuser SET pgleak.idle_leak_after = '50ms';
ALTER ROLE regress_pgleak_user SET pgleak.idle_leak_after = '50ms';
CALL pg_temp.connect('superuser', 'user=regress_pgleak_superuser');
CALL pg_temp.connect('user', 'user=regress_pgleak_user');
SELECT pg_temp.run('superuser', 'BEGIN');
SELECT pg_temp.run('user', E'BEGIN;\n\t-- a comment\n\tSELECT   ''a statement that is longer than the column for it''');
CALL pg_temp.wait_for_leak('superuser', 'user');
SELECT role, clock, leak_after, limit_source FROM leak WHERE session IN ('user', 'superuser') ORDER BY role;
-- pgleak.top: a terminal's width, one line for each.
SELECT "role@database", application, state, statement FROM pgleak.top WHERE application IN ('user', 'superuser') ORDER BY 1;


-- The blocking clock: a session that others wait for, even if it is idle outside of a transaction.
CALL pg_temp.disconnect_all();
CALL pg_temp.connect('holder');
CALL pg_temp.connect('waiter');
SELECT pg_temp.run('holder', 'SET pgleak.idle_leak_after = 0; SET pgleak.blocking_leak_after = ''50ms'';'
    'SELECT pg_advisory_lock(4711)');
SELECT dblink_send_query('waiter', 'SELECT pg_advisory_lock(4711)');
CALL pg_temp.wait_for_leak('holder');
SELECT state, clock, leak_after, limit_source, xact_start, transaction_age, idle_for >= leak_after AS is_idle, locks, blocked,
    impact, next_action
FROM leak;
SELECT application, state, age, blocked, next, statement FROM pgleak.top WHERE application = 'holder';
-- There is no transaction to cancel.
SET client_min_messages = error;
SELECT pgleak.cancel(pid) FROM leak;
RESET client_min_messages;
SELECT pgleak.terminate(pid) FROM leak;
CALL pg_temp.wait_for_outcome('holder', 'terminated');
SELECT state, clock, xact_start, transaction_age, blocked, impact, last_action, last_action_result, outcome
FROM history WHERE session = 'holder';

CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_superuser, regress_pgleak_user;
DROP TABLE test_detection;
