-- Rules: what pgleak.rules accepts and how it refuses the rest, which sessions a rule matches, whose limit wins, and who
-- may see and change what.
\i test/regress/helpers.sql

-- What a rule is made of, by default.
INSERT INTO pgleak.rules DEFAULT VALUES RETURNING *;
DELETE FROM pgleak.rules;
ALTER SEQUENCE pgleak.rules_id_seq RESTART;

-- Nonsense, each with the message that a person sees.
CREATE FUNCTION pg_temp.refusal(assignments text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO pgleak.rules (%s) VALUES (%s)',
        regexp_replace(assignments, '\s*=\s*(E?''[^'']*''|[^,]*)', '', 'g'),
        regexp_replace(assignments, '(^|,)\s*\w+\s*=\s*', '\1', 'g'));
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || replace(SQLERRM, 'new row for relation "rules" violates check constraint ', '');
END
$$;
SELECT pg_temp.refusal(rule) AS message, rule
FROM (VALUES
    ($$idle_leak_after = '-1s'$$),
    ($$transaction_leak_after = '-1 day 23:00'$$),
    ($$idle_leak_after = '1 month'$$),
    ($$idle_terminate_after = '25d'$$),
    ($$transaction_cancel_after = '1 year'$$),
    ($$idle_leak_after = 'soon'$$),
    ($$idle_leak_after = '5min', idle_cancel_after = '1min'$$),
    ($$idle_leak_after = '5min', idle_terminate_after = '299s'$$),
    ($$transaction_leak_after = '2h', transaction_cancel_after = '1h'$$),
    ($$transaction_leak_after = '2h', transaction_terminate_after = '1h'$$),
    ($$blocking_leak_after = '25d'$$),
    ($$blocking_cancel_after = '-1s'$$),
    ($$blocking_leak_after = '5s', blocking_cancel_after = '4s'$$),
    ($$blocking_leak_after = '5s', blocking_terminate_after = '4s'$$),
    ($$min_impact = 'much'$$),
    ($$min_impact = 'BLOCKING'$$),
    ($$min_impact = ''$$),
    ($$database = ''$$),
    ($$role = ''$$),
    ($$application_name = ''$$),
    ($$application_name = E'shop\\'$$),
    ($$application_name = E'shop\\\\\\'$$),
    ($$client_addr = '10.0.0.0/33'$$),
    ($$client_addr = 'localhost'$$),
    ($$priority = NULL$$),
    ($$enabled = NULL$$),
    ($$valid_until = 'tomorow'$$)) AS t(rule);
SELECT pg_temp.refusal(format('database = %L', repeat('x', 64))) AS message;
SELECT pg_temp.refusal(format('application_name = %L', repeat('x', 128))) AS message;

-- What looks like it and is none.
SELECT pg_temp.refusal(rule) AS message, rule
FROM (VALUES
    ($$idle_leak_after = '0', idle_cancel_after = '1min'$$),
    ($$idle_leak_after = '5min', idle_cancel_after = '0'$$),
    ($$idle_leak_after = '5min', idle_cancel_after = '5min', idle_terminate_after = '5min'$$),
    ($$idle_leak_after = '24 days'$$),
    ($$idle_cancel_after = '1ms'$$),
    ($$idle_leak_after = '1h', transaction_cancel_after = '1min'$$),
    ($$blocking_leak_after = '5s', blocking_cancel_after = '5s', blocking_terminate_after = '1min'$$),
    ($$application_name = E'shop\\\\'$$),
    ($$application_name = E'100\\%'$$),
    ($$client_addr = '10.1.2.3/8'$$),
    ($$client_addr = '2001:db8::/32'$$),
    ($$role = 'nobody of that name'$$),
    ($$database = 'no such database'$$),
    ($$valid_until = 'infinity'$$),
    ($$valid_until = '-infinity'$$),
    ($$min_impact = 'none'$$)) AS t(rule);
SELECT count(*) AS rules FROM pgleak.rules;

-- All the room there is; disabled rules need none.
TRUNCATE pgleak.rules RESTART IDENTITY;
INSERT INTO pgleak.rules (database) SELECT 'elsewhere' FROM generate_series(1, 256);
INSERT INTO pgleak.rules (database) VALUES ('elsewhere');
INSERT INTO pgleak.rules (database, enabled) VALUES ('elsewhere', false);
UPDATE pgleak.rules SET enabled = true;
DELETE FROM pgleak.rules WHERE id = 1;
INSERT INTO pgleak.rules (database) VALUES ('elsewhere');
TRUNCATE pgleak.rules RESTART IDENTITY;
SELECT pgleak.note_rule_change();

-- Which sessions a rule matches: limits_for() tells who decided.
CREATE ROLE regress_pgleak_group;
CREATE ROLE regress_pgleak_team IN ROLE regress_pgleak_group;
CREATE ROLE regress_pgleak_app LOGIN IN ROLE regress_pgleak_team;
CREATE ROLE regress_pgleak_admin LOGIN SUPERUSER;
CALL pg_temp.connect('shop-api', 'user=regress_pgleak_app');
CALL pg_temp.connect('admin', 'user=regress_pgleak_admin');
CALL pg_temp.connect('writer');
CREATE FUNCTION pg_temp.deciding(session text) RETURNS text LANGUAGE sql AS $$
    SELECT l.source FROM pg_temp.session s, pgleak.limits_for(s.pid) l
    WHERE s.session = deciding.session AND l.setting = 'pgleak.idle_leak_after'
$$;
-- True if a rule with these conditions matches that session; else one behind it that matches everything does. Another
-- session writes both: this one's transaction is not over yet.
CREATE FUNCTION pg_temp.matches(session text, conditions text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_exec('writer', format('BEGIN; DELETE FROM pgleak.rules;'
        'INSERT INTO pgleak.rules (priority, idle_leak_after) VALUES (1, ''1h''), (2, ''2h'');'
        'UPDATE pgleak.rules SET %s WHERE priority = 1; COMMIT', conditions));
    CALL pg_temp.wait_for(format('SELECT pg_temp.deciding(%L) IN (SELECT ''rule '' || id FROM pgleak.rules)', session));
    RETURN pg_temp.deciding(session) = (SELECT 'rule ' || id FROM pgleak.rules ORDER BY priority LIMIT 1);
END
$$;
SELECT pg_temp.matches('shop-api', conditions), conditions
FROM (VALUES
    ($$note = 'nothing but a note'$$),
    ($$database = 'contrib_regression'$$),
    ($$database = 'contrib%'$$),
    ($$database = 'postgres'$$),
    ($$role = 'regress_pgleak_app'$$),
    ($$role = 'regress_pgleak_team'$$),
    ($$role = 'regress_pgleak_group'$$),
    ($$role = 'regress_pgleak_admin'$$),
    ($$role = 'regress_pgleak_nobody'$$),
    ($$role = 'public'$$),
    ($$application_name = 'shop-api'$$),
    ($$application_name = 'shop-%'$$),
    ($$application_name = 'shop_api'$$),
    ($$application_name = 'shop\_api'$$),
    ($$application_name = 'SHOP-API'$$),
    ($$application_name = '%'$$),
    ($$client_addr = '0.0.0.0/0'$$),
    ($$client_addr = '::/0'$$),
    ($$min_impact = 'none'$$),
    ($$min_impact = 'locks'$$),
    ($$valid_until = now() + interval '1 hour'$$),
    ($$valid_until = now() - interval '1 ms'$$),
    ($$valid_until = 'infinity'$$),
    ($$enabled = false$$),
    ($$database = 'contrib_regression', role = 'regress_pgleak_team', application_name = 'shop%', min_impact = 'none'$$),
    ($$database = 'contrib_regression', role = 'regress_pgleak_team', application_name = 'shop'$$)) AS t(conditions);
-- A superuser is a member of what he was made a member of.
SELECT pg_temp.matches('admin', $$role = 'regress_pgleak_group'$$);
SELECT pg_temp.matches('admin', $$role = 'regress_pgleak_admin'$$);
-- The role is that of the login, and the application_name that of the moment.
SELECT pg_temp.run('admin', 'SET SESSION AUTHORIZATION regress_pgleak_app');
SELECT pg_temp.matches('admin', $$role = 'regress_pgleak_group'$$);
SELECT pg_temp.run('admin', 'RESET SESSION AUTHORIZATION; SET application_name = ''renamed''');
SELECT pg_temp.matches('admin', $$application_name = 'renamed'$$);

-- The first rule that matches decides alone: what it does not say the server says. The session's own value wins.
TRUNCATE pgleak.rules RESTART IDENTITY;
INSERT INTO pgleak.rules (priority, role, idle_leak_after, idle_cancel_after, transaction_leak_after, blocking_leak_after,
    blocking_terminate_after) VALUES
    (20, 'regress_pgleak_app', '3min', '4min', '5min', '6min', '7min'),
    (10, 'regress_pgleak_group', '2min', NULL, '0', '5s', '30s'),
    (30, NULL, '1min', '1min', '1min', '1min', '1min');
CALL pg_temp.wait_for($$SELECT pg_temp.deciding('shop-api') = 'rule 2'$$);
SELECT l.* FROM session s, pgleak.limits_for(s.pid) l WHERE s.session = 'shop-api';
ALTER ROLE regress_pgleak_app SET pgleak.idle_leak_after = '90s';
ALTER SYSTEM SET pgleak.idle_terminate_after = '7min';
SELECT pg_reload_conf();
CALL pg_temp.connect('own', 'user=regress_pgleak_app');
CALL pg_temp.wait_for($$SELECT EXISTS (SELECT FROM session s, pgleak.limits_for(s.pid) l WHERE l.value = '7min')$$);
SELECT l.* FROM session s, pgleak.limits_for(s.pid) l WHERE s.session = 'own';
-- The server's values may differ from those of the calling session.
SET pgleak.idle_terminate_after = '99h';
SELECT l.* FROM session s, pgleak.limits_for(s.pid) l WHERE s.session = 'own' AND l.setting = 'pgleak.idle_terminate_after';
RESET pgleak.idle_terminate_after;
ALTER SYSTEM RESET pgleak.idle_terminate_after;
SELECT pg_reload_conf();
ALTER ROLE regress_pgleak_app RESET pgleak.idle_leak_after;

-- A leak says which rule made it one, in the live view and in the history. A mute that comes later leaves it open.
UPDATE pgleak.rules SET idle_leak_after = '60ms', idle_cancel_after = '1h' WHERE id = 2;
SELECT pg_temp.run('shop-api', 'BEGIN');
CALL pg_temp.wait_for_leak('shop-api');
CALL pg_temp.wait_for('SELECT next_action IS NOT NULL FROM leak');
SELECT leak_after, limit_source, next_action FROM leak;
CALL pg_temp.wait_for('SELECT EXISTS (SELECT FROM history)');
SELECT leak_after, limit_source FROM history;
UPDATE pgleak.rules SET idle_leak_after = '0', note = 'mute' WHERE id = 2;
CALL pg_temp.wait_for('SELECT next_action IS NULL FROM leak');
SELECT leak_after, limit_source, next_action FROM leak;
SELECT pg_temp.run('shop-api', 'COMMIT');
CALL pg_temp.wait_for_outcome('shop-api', 'committed');
SELECT leak_after, limit_source FROM history WHERE session = 'shop-api';

-- limits_for(): of client backends only, and of one's own role unless one reads all statistics.
SELECT * FROM pgleak.limits_for(NULL);
SELECT * FROM pgleak.limits_for(0);
CREATE FUNCTION pg_temp.sees(session text) RETURNS text LANGUAGE sql AS $$
    SELECT regexp_replace(pg_temp.error_of(format('SELECT * FROM pgleak.limits_for(%s)', s.pid)), '\d+$', 'N')
    FROM session s WHERE s.session = sees.session
$$;
GRANT SELECT ON session TO PUBLIC;
CREATE ROLE regress_pgleak_stats IN ROLE pg_read_all_stats;
CREATE ROLE regress_pgleak_monitor IN ROLE pg_monitor;
SET ROLE regress_pgleak_team;
SELECT pg_temp.sees('shop-api');
SET ROLE regress_pgleak_app;
SELECT pg_temp.sees('shop-api');
SELECT pg_temp.sees('admin');
SET ROLE regress_pgleak_stats;
SELECT pg_temp.sees('shop-api');
SELECT pg_temp.sees('admin');

-- The table: pg_monitor reads it, superusers and whom they let change it.
SELECT pg_temp.error_of('SELECT FROM pgleak.rules');
SET ROLE regress_pgleak_monitor;
SELECT count(*) FROM pgleak.rules;
SELECT pg_temp.error_of('INSERT INTO pgleak.rules DEFAULT VALUES');
SELECT pg_temp.error_of('UPDATE pgleak.rules SET enabled = false');
SELECT pg_temp.error_of('TRUNCATE pgleak.rules');
RESET ROLE;
GRANT INSERT ON pgleak.rules TO regress_pgleak_team;
SET ROLE regress_pgleak_team;
INSERT INTO pgleak.rules (priority, application_name, idle_leak_after, note) VALUES (5, 'shop-api', '8min', 'by the team');
SELECT pg_temp.error_of($$INSERT INTO pgleak.rules (priority) SELECT 1 FROM generate_series(1, 256)$$);
SELECT pg_temp.error_of('SELECT FROM pgleak.rules');
SELECT pg_temp.error_of('CREATE TRIGGER mine AFTER INSERT ON pgleak.rules EXECUTE FUNCTION pgleak.note_rule_change()');
RESET ROLE;
CALL pg_temp.wait_for($$SELECT pg_temp.deciding('shop-api') = 'rule ' || id FROM pgleak.rules WHERE note = 'by the team'$$);

CALL pg_temp.disconnect_all();
TRUNCATE pgleak.rules RESTART IDENTITY;
DROP OWNED BY regress_pgleak_team;
DROP ROLE regress_pgleak_stats, regress_pgleak_monitor, regress_pgleak_app, regress_pgleak_admin, regress_pgleak_team,
    regress_pgleak_group;
