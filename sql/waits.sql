-- pgleak.waits: its columns, and who may see what of a wait. (Chains, shared locks, prepared transactions and standbys:
-- test/tap/031_waits.pl.)
\i test/regress/helpers.sql

SELECT attname, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) IS NOT NULL AS has_comment
FROM pg_attribute WHERE attrelid = 'pgleak.waits'::regclass AND attnum > 0 ORDER BY attnum;

-- Nobody waits for this session.
SELECT * FROM pgleak.waits WHERE root_pid = pg_backend_pid();

CREATE ROLE regress_pgleak_app LOGIN;
CREATE ROLE regress_pgleak_reader;
CREATE ROLE regress_pgleak_colleague IN ROLE regress_pgleak_app;
CREATE ROLE regress_pgleak_statistics IN ROLE pg_read_all_stats;
GRANT SELECT ON session TO PUBLIC;

CALL pg_temp.connect('root', 'user=regress_pgleak_app');
CALL pg_temp.connect('waiter', 'user=regress_pgleak_app');
SELECT pg_temp.run('root', 'SELECT pg_advisory_lock(7) /* route=''/orders'' */');
SELECT dblink_send_query('waiter', 'SELECT ''secret'' FROM pg_advisory_lock_shared(7)');
CALL pg_temp.wait_for('SELECT since IS NOT NULL FROM pgleak.waits WHERE waiter_application_name = ''waiter''');

-- Everybody sees who waits for whom, and for which lock.
CREATE TEMP VIEW wait AS
    SELECT waiter.session AS waiter, root.session AS root, w.*
    FROM pgleak.waits w JOIN session waiter ON waiter.pid = w.waiter_pid JOIN session root ON root.pid = w.root_pid;
CREATE TEMP VIEW visible AS
    SELECT e.key FROM wait w, jsonb_each_text(to_jsonb(w)) e WHERE e.value IS NOT NULL;
GRANT SELECT ON wait, visible TO PUBLIC;
SET ROLE regress_pgleak_reader;
SELECT waiter, waiter_role, waiter_application_name, locktype, relation, mode, depth,
    root, root_kind, root_role, root_application_name FROM wait;
SELECT key COLLATE "C" FROM visible ORDER BY 1;
SELECT waiter_query FROM wait;

-- What both do is for the role itself, its members, and readers of all statistics.
SET ROLE regress_pgleak_app;
SELECT key COLLATE "C" FROM visible ORDER BY 1;
SELECT waiter_backend_type, waiter_query, root_state, root_route, root_idle_for >= waiting_for AS root_is_idle FROM wait;
SET ROLE regress_pgleak_colleague;
SELECT waiter_backend_type, waiter_query, root_state, root_route FROM wait;
SET ROLE regress_pgleak_statistics;
SELECT waiter_backend_type, waiter_query, root_state, root_route FROM wait;
RESET ROLE;

SELECT pg_temp.run('root', 'SELECT pg_advisory_unlock(7)');
CALL pg_temp.wait_for('SELECT NOT EXISTS (SELECT FROM pgleak.waits WHERE waiter_application_name = ''waiter'')');
CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_app, regress_pgleak_reader, regress_pgleak_colleague, regress_pgleak_statistics;
