-- pgleak.idle_times and pgleak.choose_limits(): what they consist of, a pool whose idle times are known in number, what is said of
-- too few of them, and for whom they are. The rest: test/tap/044_idle_times.pl.
\i test/regress/helpers.sql
CALL pg_temp.wait_for('SELECT pgleak.scan() = 0 AND events_written >= events_queued FROM pgleak.stats');

-- One row for the whole server; percentiles in order, and never above the maximum.
CALL pg_temp.connect('idler');
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM pgleak.idle_times WHERE application_name = ''idler''');
SELECT database, role = current_user AS is_mine, client_addr, count, total, p50, p95, p99, max, since < clock_timestamp() AS has_begun,
    scope
FROM pgleak.idle_times WHERE application_name = 'idler';
SELECT pg_temp.run('idler', 'BEGIN; SELECT 1');
SELECT pg_temp.run('idler', 'SELECT 2; SELECT 3');
SELECT pg_temp.run('idler', 'SAVEPOINT a');
SELECT pg_temp.run('idler', 'COMMIT');
SELECT pg_temp.run('idler', 'SELECT 4');
CALL pg_temp.wait_for('SELECT count = 3 FROM pgleak.idle_times WHERE application_name = ''idler''');
SELECT count, p50 <= p95 AND p95 <= p99 AND p99 <= max AND max <= total AS is_ordered, busy_share BETWEEN 0 AND 1 OR busy_share IS NULL AS is_share
FROM pgleak.idle_times WHERE application_name = 'idler';
CALL pg_temp.wait_for($$
    SELECT sum(count) FILTER (WHERE scope = 'server') = sum(count) FILTER (WHERE scope <> 'server') FROM pgleak.idle_times$$);
SELECT database, role, application_name, client_addr, count > 0 AS counts, max IS NOT NULL AS has_max
FROM pgleak.idle_times WHERE scope = 'server';

-- Forgotten by pgleak.reset(), within a second.
SELECT pgleak.reset();
CALL pg_temp.wait_for('SELECT count = 0 FROM pgleak.idle_times WHERE application_name = ''idler''');
SELECT setting, current_value, suggested_value, regexp_replace(reason, '\d+ idle times? w\w+ seen in .*?,', '# idle times were seen in #,') AS reason
FROM pgleak.choose_limits();

-- Who may see what.
CREATE ROLE regress_pgleak_reader;
CREATE ROLE regress_pgleak_monitor IN ROLE pg_monitor;
SET ROLE regress_pgleak_reader;
SELECT count(*) > 0 AS rows, count(count) AS counts, count(since) AS times FROM pgleak.idle_times;
SELECT left(pg_temp.error_of('SELECT FROM pgleak.choose_limits()'), 5) AS sqlstate;
SET ROLE regress_pgleak_monitor;
SELECT count(*) = count(count) AS sees_all FROM pgleak.idle_times;
SELECT count(*) FROM pgleak.choose_limits();
RESET ROLE;
DROP ROLE regress_pgleak_reader, regress_pgleak_monitor;
CALL pg_temp.disconnect_all();
