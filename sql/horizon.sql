-- pgleak.horizon: its columns, and who may see what of a holder. (What each kind shows, and what VACUUM really keeps:
-- test/tap/034_horizon.pl.)
\i test/regress/helpers.sql

SELECT attname, format_type(atttypid, atttypmod) AS type, col_description(attrelid, attnum) IS NOT NULL AS has_comment
FROM pg_attribute WHERE attrelid = 'pgleak.horizon'::regclass AND attnum > 0 ORDER BY attnum;

-- A session does not see itself, even in a transaction with an id and a snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_current_xact_id() IS NOT NULL AS has_id;
SELECT * FROM pgleak.horizon WHERE pid = pg_backend_pid();
COMMIT;

CREATE ROLE regress_pgleak_app LOGIN;
CREATE ROLE regress_pgleak_reader;
CREATE ROLE regress_pgleak_colleague IN ROLE regress_pgleak_app;
CREATE ROLE regress_pgleak_statistics IN ROLE pg_read_all_stats;
GRANT SELECT ON session TO PUBLIC;

CALL pg_temp.connect('app', 'user=regress_pgleak_app');
CALL pg_temp.connect('coordinator', 'user=regress_pgleak_app');
SELECT pg_temp.run('app', 'BEGIN; SELECT 1 FROM pg_current_xact_id()');
SELECT pg_temp.run('coordinator', 'BEGIN; SELECT 1 FROM pg_current_xact_id(); PREPARE TRANSACTION ''regress_pgleak''');
SELECT slot_name FROM pg_create_physical_replication_slot('regress_pgleak', true);
CREATE TEMP TABLE later AS SELECT;

CREATE TEMP VIEW holder AS
    SELECT coalesce(s.session, h.kind) AS who, h.*
    FROM pgleak.horizon h LEFT JOIN session s USING (pid)
    WHERE s.session IS NOT NULL OR 'regress_pgleak' IN (h.gid, h.slot_name);
CREATE TEMP VIEW visible AS
    SELECT h.who, string_agg(e.key COLLATE "C", ' ' ORDER BY e.key COLLATE "C") AS columns
    FROM holder h, jsonb_each_text(to_jsonb(h)) e WHERE e.value IS NOT NULL AND e.key <> 'who' GROUP BY h.who;
GRANT SELECT ON holder, visible TO PUBLIC;

-- Slots and prepared transactions are for everybody to see, and of sessions what pg_stat_activity shows.
SET ROLE regress_pgleak_reader;
SELECT * FROM visible ORDER BY who;
SELECT who, kind, database, application_name, role, holds, age_transactions > 0 AS has_age, active, wal_status
FROM holder ORDER BY who;
SELECT h.xid = a.backend_xid AS as_in_activity FROM holder h JOIN pg_stat_activity a USING (pid) WHERE h.who = 'app';
SELECT remedy FROM holder WHERE kind <> 'session' ORDER BY who;

-- The rest is for the role itself, its members, and readers of all statistics.
SET ROLE regress_pgleak_app;
SELECT * FROM visible WHERE who = 'app';
SELECT backend_type, state, age BETWEEN '0' AND clock_timestamp() - since AS has_age,
    remedy = format('SELECT pgleak.cancel(%s)', pid) AS has_remedy
FROM holder WHERE who = 'app';
SET ROLE regress_pgleak_colleague;
SELECT backend_type, state, age IS NOT NULL AS has_age, remedy IS NOT NULL AS has_remedy FROM holder WHERE who = 'app';
SET ROLE regress_pgleak_statistics;
SELECT backend_type, state, age IS NOT NULL AS has_age, remedy IS NOT NULL AS has_remedy FROM holder WHERE who = 'app';
RESET ROLE;

-- The oldest of this database is one of them, or there is none.
SELECT count(*) > 0 AS is_held FROM pgleak.horizon WHERE is_oldest AND database = current_database();
SELECT pg_temp.run('app', 'ROLLBACK');
ROLLBACK PREPARED 'regress_pgleak';
SELECT pg_drop_replication_slot('regress_pgleak');
SELECT * FROM holder;
CALL pg_temp.wait_for($$SELECT NOT EXISTS (SELECT FROM pgleak.horizon WHERE is_oldest AND database = current_database())$$);
CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_app, regress_pgleak_reader, regress_pgleak_colleague, regress_pgleak_statistics;
