-- Prepared transactions as leaks: what the views show of one, and what the history keeps. (Restarts, masking, waiters, other
-- databases: test/tap/035_prepared.pl.)
\i test/regress/helpers.sql

CREATE TABLE test_prepared (id integer);
ALTER SYSTEM SET pgleak.prepared_leak_after = '50ms';
SELECT pg_reload_conf();

CALL pg_temp.connect('listener');
SELECT pg_temp.run('listener', 'LISTEN pgleak');
CREATE TEMP TABLE notification (payload jsonb);
CREATE FUNCTION pg_temp.is_notified(event text) RETURNS boolean LANGUAGE sql AS $$
    SELECT count(pg_temp.run('listener', 'SELECT 1'));
    INSERT INTO notification SELECT extra::jsonb FROM dblink_get_notify('listener')
        WHERE notify_name = 'pgleak' AND extra::jsonb ->> 'kind' = 'prepared transaction';
    SELECT EXISTS (SELECT FROM notification WHERE payload ->> 'event' = is_notified.event);
$$;

BEGIN;
INSERT INTO test_prepared VALUES (1);
PREPARE TRANSACTION 'regress it''s \ mine';
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM pgleak.leaks WHERE kind = ''prepared transaction'')', scans => false);
\x on
SELECT kind, pid, gid, database, role = current_user AS role, application_name, client_addr, client_port, backend_start, xact_start,
    state, wait_event, idle_since, idle_for, clock, leak_after, limit_source, holds_xmin, blocked, blocked_for, impact, waiting,
    client_gone, next_action, next_action_at, action_held_by, remedy, declared, last_action, last_action_at, last_action_result,
    action_source, query, query_id, tags, trail
FROM pgleak.leaks WHERE kind = 'prepared transaction';
\x off
SELECT l.prepared_at = p.prepared AS prepared_at, l.holds_xid = p.transaction AS holds_xid, l.xmin_age >= 1 AS xmin_age,
    l.detected_at > l.prepared_at AS detected_at, l.transaction_age > l.leak_after AS transaction_age, l.locks
FROM pgleak.leaks l JOIN pg_prepared_xacts p USING (gid);
SELECT lock ->> 'locktype' AS locktype, lock ->> 'relation' AS relation, lock ->> 'mode' AS mode, lock ->> 'waiters' AS waiters
FROM pgleak.leaks l, jsonb_array_elements(l.held) AS lock WHERE l.kind = 'prepared transaction' ORDER BY 2;
-- Only those that follow it count it; no session and no pool does.
SELECT kind, application, clock, sessions, blocked_sessions FROM pgleak.metrics_sessions;
SELECT count(*) FROM pgleak.metrics_routes;
SELECT sum(leaked) FROM pgleak.pools;
SELECT pid, application, state, idle, blocked, next, statement FROM pgleak.top;
-- There is nothing to act on: no process id.
SELECT pgleak.cancel(pid), pgleak.terminate(pid) FROM pgleak.leaks;

SELECT remedy FROM pgleak.leaks \gexec
CALL pg_temp.wait_for('SELECT NOT EXISTS (SELECT FROM pgleak.leaks WHERE kind = ''prepared transaction'')');
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM pgleak.history WHERE gid ~ ''^regress it'' AND outcome IS NOT NULL)', scans => false);
\x on
SELECT kind, pid, gid, database, role = current_user AS role, application_name, backend_start, xact_start, state, clock, leak_after,
    limit_source, blocked, impact, query, outcome, prepared_at < detected_at AS prepared_at, ended_at > detected_at AS ended_at
FROM pgleak.history WHERE gid ~ '^regress it';
SELECT kind, application_name, route, query_id, episodes, outcomes, query FROM pgleak.offenders WHERE kind = 'prepared transaction';
\x off
SELECT count(*) FROM regexp_matches(pgleak.report('1 hour'), '\(prepared transactions\)') AS found;

CALL pg_temp.wait_for('SELECT pg_temp.is_notified(''ended'')');
SELECT payload - 'leak_id' - 'role' - 'duration' AS payload, payload ? 'role' AS role, jsonb_typeof(payload -> 'duration') AS duration
FROM notification ORDER BY payload ->> 'event' DESC;

-- A session that was a leak when it prepared its transaction: both have the gid and the transaction id.
CALL pg_temp.connect('manager');
SELECT pg_temp.run('manager', 'SET pgleak.idle_leak_after = ''50ms''');
SELECT pg_temp.run('manager', 'BEGIN; INSERT INTO test_prepared VALUES (2)');
CALL pg_temp.wait_for_leak('manager');
SELECT pg_temp.run('manager', 'PREPARE TRANSACTION ''regress handed over''');
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM pgleak.history WHERE gid = ''regress handed over'' AND kind <> ''session'')', scans => false);
COMMIT PREPARED 'regress handed over';
CALL pg_temp.wait_for('SELECT count(*) = 2 FROM pgleak.history WHERE gid = ''regress handed over'' AND outcome IS NOT NULL');
SELECT s.application_name, s.outcome, p.gid, p.outcome
FROM pgleak.history p JOIN pgleak.history s USING (gid, holds_xid)
WHERE p.kind = 'prepared transaction' AND s.kind = 'session' AND gid ~ '^regress handed';

ALTER SYSTEM RESET pgleak.prepared_leak_after;
SELECT pg_reload_conf();
CALL pg_temp.disconnect_all();
DROP TABLE test_prepared;
