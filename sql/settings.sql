-- The settings: defaults, units and ranges; who may change a session's limits, and which of several values applies.
\i test/regress/helpers.sql

SELECT name COLLATE "C", boot_val, unit, min_val, max_val, context, vartype
FROM pg_settings WHERE name LIKE 'pgleak.%' ORDER BY 1;
SELECT name FROM pg_settings WHERE name LIKE 'pgleak.%' AND short_desc IS NULL;

-- Units.
SET pgleak.idle_leak_after = '90s';
SHOW pgleak.idle_leak_after;
SET pgleak.idle_leak_after = '1.5min';
SHOW pgleak.idle_leak_after;
SET pgleak.idle_leak_after = 1500;
SHOW pgleak.idle_leak_after;
SET pgleak.idle_leak_after = '2d';
SHOW pgleak.idle_leak_after;
SET pgleak.idle_leak_after = 0;
SHOW pgleak.idle_leak_after;
RESET pgleak.idle_leak_after;
SHOW pgleak.idle_leak_after;

-- Nonsense.
SELECT pg_temp.error_of(statement) AS error, statement
FROM (VALUES
    ($$SET pgleak.idle_leak_after = '-1ms'$$),
    ($$SET pgleak.idle_leak_after = '60 seconds'$$),
    ($$SET pgleak.idle_leak_after = '10kB'$$),
    ($$SET pgleak.idle_leak_after = 'never'$$),
    ($$SET pgleak.idle_leak_after = '25d'$$),
    ($$SET pgleak.transaction_leak_after = ''$$),
    ($$SET pgleak.blocking_leak_after = '25d'$$),
    ($$SET pgleak.idle_leek_after = '10s'$$),
    ($$SET pgleak.scan_interval = '2s'$$),
    ($$SET pgleak.retention = '1d'$$),
    ($$SET pgleak.pool_busy_after = '1min'$$),
    ($$SET pgleak.database = 'elsewhere'$$),
    ($$SET pgleak.max_pools = 2048$$),
    ($$SET pgleak.queue_size = 2048$$)) AS t(statement);
SHOW pgleak.idle_leak_after;

-- Nonsense in the server's configuration is refused before it is written there.
\set VERBOSITY sqlstate
ALTER SYSTEM SET pgleak.scan_interval = '9ms';
ALTER SYSTEM SET pgleak.scan_interval = '61min';
ALTER SYSTEM SET pgleak.retention = '-1d';
ALTER SYSTEM SET pgleak.history_max_rows = 'many';
ALTER SYSTEM SET pgleak.queue_size = 15;
ALTER SYSTEM SET pgleak.max_pools = 15;
ALTER SYSTEM SET pgleak.max_pools = 65537;
ALTER SYSTEM SET pgleak.log_query = 'sometimes';
ALTER SYSTEM SET pgleak.pool_busy_percent = 0;
ALTER SYSTEM SET pgleak.pool_busy_percent = 101;
ALTER SYSTEM SET pgleak.pool_busy_after = '999ms';
ALTER SYSTEM SET pgleak.act_on_declared = 'sometimes';
\set VERBOSITY default

-- Ordinary users cannot exempt themselves: not by SET, by a function's SET clause, for their role, for their database, or
-- when they connect.
CREATE ROLE regress_pgleak_user LOGIN;
CREATE DATABASE regress_pgleak_database OWNER regress_pgleak_user;
SET SESSION AUTHORIZATION regress_pgleak_user;
SET pgleak.idle_leak_after = 0;
SET LOCAL pgleak.idle_leak_after = 0;
SELECT set_config('pgleak.transaction_leak_after', '1d', false);
DO $$
BEGIN
    CREATE FUNCTION pg_temp.exempt() RETURNS void LANGUAGE sql SET pgleak.idle_leak_after = 0 AS '';
    PERFORM pg_temp.exempt();
END
$$;
ALTER ROLE regress_pgleak_user SET pgleak.idle_leak_after = 0;
ALTER DATABASE regress_pgleak_database SET pgleak.idle_leak_after = 0;
SHOW pgleak.idle_leak_after;
RESET SESSION AUTHORIZATION;
DO $$
DECLARE
    detail text;
BEGIN
    CALL pg_temp.connect('refused', 'user=regress_pgleak_user options=''-c pgleak.idle_leak_after=0''');
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE NOTICE '%', substring(detail FROM 'FATAL: .*');
END
$$;

-- Whom a superuser trusts can.
GRANT SET ON PARAMETER pgleak.idle_leak_after TO regress_pgleak_user;
SET SESSION AUTHORIZATION regress_pgleak_user;
SET pgleak.idle_leak_after = '10min';
SHOW pgleak.idle_leak_after;
SET pgleak.transaction_leak_after = '10min';
ALTER ROLE regress_pgleak_user SET pgleak.idle_leak_after = '20min';
RESET pgleak.idle_leak_after;
RESET SESSION AUTHORIZATION;
REVOKE SET ON PARAMETER pgleak.idle_leak_after FROM regress_pgleak_user;
ALTER ROLE regress_pgleak_user RESET ALL;

-- SET LOCAL ends with the transaction, SET with its rollback, either with that of a savepoint.
BEGIN;
SET LOCAL pgleak.idle_leak_after = '1h';
SHOW pgleak.idle_leak_after;
COMMIT;
SHOW pgleak.idle_leak_after;
BEGIN;
SET pgleak.idle_leak_after = '1h';
SAVEPOINT one;
SET pgleak.idle_leak_after = '2h';
ROLLBACK TO one;
SHOW pgleak.idle_leak_after;
ROLLBACK;
SHOW pgleak.idle_leak_after;

-- What a session's limit is, as the leaks themselves show.
-- In the server's configuration:
CALL pg_temp.connect('server');
ALTER SYSTEM SET pgleak.idle_leak_after = '70ms';
SELECT pg_reload_conf();
SELECT pg_temp.run('server', 'BEGIN');
CALL pg_temp.wait_for_leak('server');
SELECT leak_after, limit_source FROM leak WHERE session = 'server';
ALTER SYSTEM RESET pgleak.idle_leak_after;
SELECT pg_reload_conf();

-- For all roles, for a database, for a role, for a role in a database, in the connection's options, by SET. The later one
-- wins, and each wins over the server's.
CREATE FUNCTION pg_temp.own_limit(session text, options text DEFAULT '', statement text DEFAULT '')
RETURNS TABLE (leak_after interval, limit_source text) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.connect(session, 'user=regress_pgleak_user ' || options);
    IF statement <> '' THEN
        PERFORM pg_temp.run(session, statement);
    END IF;
    PERFORM pg_temp.run(session, 'BEGIN');
    CALL pg_temp.wait_for_leak(session);
    RETURN QUERY SELECT l.leak_after, l.limit_source FROM leak l WHERE l.session = own_limit.session;
END
$$;
SELECT current_database() AS database \gset
ALTER ROLE ALL SET pgleak.idle_leak_after = '71ms';
SELECT * FROM pg_temp.own_limit('all');
ALTER DATABASE :database SET pgleak.idle_leak_after = '72ms';
SELECT * FROM pg_temp.own_limit('database');
ALTER ROLE regress_pgleak_user SET pgleak.idle_leak_after = '73ms';
SELECT * FROM pg_temp.own_limit('role');
ALTER ROLE regress_pgleak_user IN DATABASE :database SET pgleak.idle_leak_after = '74ms';
SELECT * FROM pg_temp.own_limit('role in database');
GRANT SET ON PARAMETER pgleak.idle_leak_after TO regress_pgleak_user;
SELECT * FROM pg_temp.own_limit('options', 'options=''-c pgleak.idle_leak_after=75ms''');
SELECT * FROM pg_temp.own_limit('set', '', 'SET pgleak.idle_leak_after = ''76ms''');
-- RESET goes back to the role's.
SELECT * FROM pg_temp.own_limit('reset', '', 'SET pgleak.idle_leak_after = ''77ms''; RESET pgleak.idle_leak_after');
SELECT * FROM pg_temp.own_limit('reset all', '', 'SET pgleak.idle_leak_after = ''77ms''; RESET ALL');

ALTER ROLE ALL RESET pgleak.idle_leak_after;
ALTER DATABASE :database RESET pgleak.idle_leak_after;
CALL pg_temp.disconnect_all();
REVOKE SET ON PARAMETER pgleak.idle_leak_after FROM regress_pgleak_user;
DROP DATABASE regress_pgleak_database;
DROP ROLE regress_pgleak_user;

-- In a transaction: SET LOCAL 0 exempts a migration, and only that one.
CALL pg_temp.connect('migration');
CALL pg_temp.connect('witness');
SELECT pg_temp.run('migration', 'SET pgleak.idle_leak_after = ''50ms''');
SELECT pg_temp.run('witness', 'SET pgleak.idle_leak_after = ''50ms''');
SELECT pg_temp.run('migration', 'BEGIN; SET LOCAL pgleak.idle_leak_after = 0');
SELECT pg_temp.run('witness', 'BEGIN');
CALL pg_temp.wait_for_leak('witness');
SELECT session FROM leak;
SELECT pg_temp.run('migration', 'COMMIT; BEGIN');
CALL pg_temp.wait_for_leak('migration');
-- The value comes back with a savepoint as well.
SELECT pg_temp.run('migration', 'ROLLBACK; BEGIN; SAVEPOINT one; SET LOCAL pgleak.idle_leak_after = 0; ROLLBACK TO one');
CALL pg_temp.wait_for_leak('migration');
-- A limit that is set in the transaction it is for counts from its beginning on.
SELECT pg_temp.run('migration', 'ROLLBACK; SET pgleak.idle_leak_after = 0; BEGIN');
SELECT pg_temp.run('migration', 'SET LOCAL pgleak.transaction_leak_after = ''1ms''');
CALL pg_temp.wait_for_leak('migration');
SELECT clock, leak_after, limit_source FROM leak WHERE session = 'migration';
