-- Who may see and do what: PUBLIC gets the live views and nothing else, masked as in pg_stat_activity; pg_monitor gets
-- history and counters; only superusers change anything.
\i test/regress/helpers.sql

-- What PUBLIC may do. (read_leaks() is what the live views read.)
SELECT object COLLATE "C" AS object, privilege_type
FROM (SELECT relname::text, relacl FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace AND relkind <> 'i'
      UNION ALL
      SELECT proname::text || '()', coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
      WHERE pronamespace = 'pgleak'::regnamespace
      UNION ALL
      SELECT 'schema', nspacl FROM pg_namespace WHERE nspname = 'pgleak') AS o(object, acl),
    aclexplode(acl)
WHERE grantee = 0
ORDER BY 1, 2;
-- No columns are granted to anybody.
SELECT attrelid::regclass, attname FROM pg_attribute
WHERE attacl IS NOT NULL
  AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'pgleak'::regnamespace);

CREATE ROLE regress_pgleak_app LOGIN;
CREATE ROLE regress_pgleak_reader;
CREATE ROLE regress_pgleak_colleague IN ROLE regress_pgleak_app;
CREATE ROLE regress_pgleak_statistics IN ROLE pg_read_all_stats;
CREATE ROLE regress_pgleak_monitor IN ROLE pg_monitor;
GRANT SELECT ON session, leak, history TO PUBLIC;
ALTER ROLE regress_pgleak_app SET pgleak.idle_leak_after = '50ms';

CALL pg_temp.connect('app', 'user=regress_pgleak_app');
SELECT pg_temp.run('app', 'BEGIN; SELECT ''secret''');
CALL pg_temp.wait_for_leak('app');

-- What an ordinary role sees of it. (client_gone appears when the kernel was asked, a moment later.)
CREATE TEMP VIEW visible AS
    SELECT e.key FROM pgleak.leaks l, jsonb_each_text(to_jsonb(l) - 'client_gone') e
    WHERE l.pid = (SELECT pid FROM session) AND e.value IS NOT NULL;
-- The columns in which it differs from pg_stat_activity. A time that runs on cannot be compared.
CREATE TEMP VIEW difference AS
    SELECT l.key, l.value AS in_leaks, a.value AS in_activity
    FROM (SELECT e.key, e.value FROM pgleak.leaks l, jsonb_each_text(to_jsonb(l)) e
          WHERE l.pid = (SELECT pid FROM session)) AS l
    JOIN (SELECT CASE e.key WHEN 'datname' THEN 'database' WHEN 'usename' THEN 'role'
                            WHEN 'state_change' THEN 'idle_since' ELSE e.key END, e.value
          FROM pg_stat_activity a, jsonb_each_text(to_jsonb(a)) e
          WHERE a.pid = (SELECT pid FROM session)) AS a(key, value) USING (key)
    WHERE l.value IS DISTINCT FROM a.value;
GRANT SELECT ON visible, difference TO PUBLIC;
-- What a leak costs is known from its first sample on.
CALL pg_temp.wait_for('SELECT bool_and(subxact_overflow IS NOT NULL) FROM pgleak.leaks');

SET ROLE regress_pgleak_reader;
SELECT key COLLATE "C" FROM visible ORDER BY 1;
SELECT database, role, application_name, query, trail FROM pgleak.leaks;
SELECT "role@database", application, state, idle, age, statement FROM pgleak.top;
SELECT * FROM difference;

-- He whose session it is, a member of his role, and a reader of all statistics see it whole.
SET ROLE regress_pgleak_app;
SELECT key COLLATE "C" FROM visible ORDER BY 1;
SELECT query, trail -> 1 -> 'query' AS in_trail FROM pgleak.leaks;
SELECT statement FROM pgleak.top;
SELECT * FROM difference;
SET ROLE regress_pgleak_colleague;
SELECT query, trail -> 1 -> 'query' AS in_trail FROM pgleak.leaks;
SELECT * FROM difference;
SET ROLE regress_pgleak_statistics;
SELECT query, trail -> 1 -> 'query' AS in_trail FROM pgleak.leaks;
SELECT * FROM difference;

-- The rest is closed to him.
SET ROLE regress_pgleak_reader;
SELECT * FROM pgleak.history;
SELECT * FROM pgleak.stats;
SELECT pgleak.read_stats();
SELECT pgleak.scan();
SELECT pgleak.reset();
CREATE TABLE pgleak.mine ();
SET ROLE regress_pgleak_statistics;
SELECT * FROM pgleak.history;
SELECT * FROM pgleak.stats;

-- A monitoring role reads, and has the scanner look, but changes nothing.
SET ROLE regress_pgleak_monitor;
SELECT role, query, clock FROM pgleak.leaks;
SELECT is_recording IS NOT NULL AS has_stats FROM pgleak.stats;
SELECT pgleak.scan() > 0 AS has_leaks;
SELECT count(*) >= 0 AS has_history FROM pgleak.history;
SELECT pgleak.reset();
DELETE FROM pgleak.history;
UPDATE pgleak.history SET outcome = NULL;
INSERT INTO pgleak.history DEFAULT VALUES;
TRUNCATE pgleak.history;
CREATE TABLE pgleak.mine ();

-- The recorder does not run what others attach to its table: nobody but the owner can.
CREATE TRIGGER mine BEFORE INSERT ON pgleak.history FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE RULE mine AS ON INSERT TO pgleak.history DO INSTEAD NOTHING;
RESET ROLE;

SELECT pg_temp.run('app', 'COMMIT');
CALL pg_temp.wait_for_outcome('app', 'committed');
SET ROLE regress_pgleak_monitor;
SELECT role, query, outcome FROM history;
RESET ROLE;

CALL pg_temp.disconnect_all();
DROP ROLE regress_pgleak_app, regress_pgleak_reader, regress_pgleak_colleague, regress_pgleak_statistics,
    regress_pgleak_monitor;
