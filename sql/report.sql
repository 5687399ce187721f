-- pgleak.report(): what can be told of the page without a browser; test/report opens it in one, test/unit renders it.
\i test/regress/helpers.sql

TRUNCATE pgleak.history;
ALTER ROLE CURRENT_USER SET pgleak.idle_leak_after = '10ms';
CALL pg_temp.connect('evil');
SELECT pg_temp.run('evil', $$SET application_name = '<b>"Tom & Jerry''s"</b>'; BEGIN; SELECT '</code><script>'$$);
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM history');
-- The scanner counts connections once a second.
CALL pg_temp.wait_for('SELECT count(*) > 0 FROM pgleak.pools WHERE verdict = ''ok''');

-- One page, whole, with nothing of the session's in it that is not escaped.
CREATE TEMP TABLE page AS SELECT pgleak.report('1 hour') AS html;
SELECT html LIKE '<!DOCTYPE html>%</html>' AS is_whole,
    html ~ '<script|<b>"|Tom & ' AS is_unsafe,
    html LIKE '%&lt;b&gt;&quot;Tom &amp; Jerry&#39;s&quot;&lt;/b&gt;%' AS has_name,
    html LIKE '%&lt;/code&gt;&lt;script&gt;%' AS has_statement,
    html ~ 'class="open"' AS has_bar,
    html ~ '<b>the whole server</b>.*<span class="verdict ok">' AS has_pools,
    html ~ '(src|href)="(?!data:)' AS needs_network
FROM page;
-- It is one function, and what it is made of shows nowhere.
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'pgleak'::regnamespace AND p.proname ~ '^report';

CALL pg_temp.disconnect_all();

-- Rows that no recorder writes: endless, of other outcomes, without what may be missing, in more applications than there are
-- lanes, with control characters, which HTML lacks.
INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start, state,
    idle_since, clock, detected_at, leak_after, limit_source, ended_at, outcome, idle_for, blocked_for, query, last_action,
    last_action_at, last_action_result)
SELECT 1, i, i, 'shop', 'shop', 'application ' || i, now(), 'idle in transaction',
    CASE WHEN i % 3 = 0 THEN '-infinity' WHEN i % 3 = 1 THEN 'infinity' END::timestamptz,
    (ARRAY['idle', 'transaction', 'blocking'])[1 + i % 3], CASE WHEN i % 5 = 0 THEN '4714-11-24 BC' ELSE now() END::timestamptz,
    CASE WHEN i % 2 = 0 THEN interval '170000000 years' ELSE '-1 s' END, 'server',
    CASE WHEN i % 2 = 0 THEN 'infinity' ELSE now() END::timestamptz, CASE i % 4 WHEN 0 THEN '<vanished>' ELSE 'committed' END,
    CASE WHEN i % 2 = 0 THEN interval '100000 years' END, interval '-1 s', E'SELECT \x01\x1b[31m\x7f', 'cancel', now(), 'done'
FROM generate_series(1, 30) AS i;
DROP TABLE page;
CREATE TEMP TABLE page AS SELECT pgleak.report('1 hour') AS html;
SELECT html LIKE '%<b>31</b><span class="soft">leaks in 31 applications</span>%' AS has_all,
    html LIKE '%>20 other applications<span class="soft">20 episodes</span></div><svg%' AS has_last_lane,
    html LIKE '%<rect class="other"%' AS has_unknown_outcome,
    html LIKE '%vanished%' AS has_its_name,
    html LIKE '%<code>SELECT ??[31m?</code>%' AS has_no_control_character,
    html LIKE '%<p>30 &times; cancel: done.</p>%' AS has_actions
FROM page;
-- What ended before the period is not in it; what is open is, however old.
TRUNCATE pgleak.history;
INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start, state, clock,
    detected_at, leak_after, limit_source, ended_at, outcome)
SELECT 1, i, i, 'shop', 'shop', name, now(), 'idle in transaction', 'idle', now() - interval '3 days', '1 s', 'server',
    now() - ended, CASE i WHEN 1 THEN 'committed' WHEN 2 THEN 'released' END
FROM (VALUES (1, 'long ago', interval '2 days'), (2, 'just now', interval '1 minute'), (3, 'still open', NULL)) AS h (i, name, ended);
SELECT r.period, r.html ~ '>long ago<' AS long_ago, r.html ~ '>just now<' AS just_now, r.html ~ '>still open<' AS still_open,
    r.html ~ ', released, detected ' AS released
FROM (SELECT p AS period, pgleak.report(p::interval) AS html FROM unnest('{1 hour,3 days}'::text[]) AS p) AS r;
-- It reads the history once, by the index on ended_at; a BitmapOr counts as two scans of it. Each of the four transactions that it
-- draws is looked up by its number.
SELECT pg_stat_force_next_flush();
BEGIN;
SET LOCAL enable_seqscan = off;
SELECT length(pgleak.report()) > 1000 AS has_report;
SELECT seq_scan, idx_scan BETWEEN 1 AND 6 AS uses_index FROM pg_stat_xact_user_tables WHERE relid = 'pgleak.history'::regclass;
COMMIT;
-- It reads and does not write, and sees what its transaction sees.
BEGIN READ ONLY;
SELECT length(pgleak.report()) > 1000 AS has_report;
COMMIT;
BEGIN;
TRUNCATE pgleak.history;
SELECT pgleak.report() LIKE '%No session leaked.%' AS is_empty;
COMMIT;

-- What held VACUUM back: a gap where no sample was taken, a curve, its worst moment, and who holds it now.
BEGIN;
TRUNCATE pgleak.horizon_samples;
SELECT html LIKE '%<h2>What holds VACUUM back</h2><p class="soft">No sample was taken in this period.</p>%' AS has_no_curve
FROM pgleak.report('1 hour') AS html;
INSERT INTO pgleak.horizon_samples (taken_at) SELECT now() - i * interval '1 minute' FROM generate_series(1, 9) AS i;
SELECT html LIKE '%<p>Nobody held VACUUM back when the samples were taken.</p>%' AS is_nobody,
    html LIKE '%nobody held VACUUM back</title><rect class="horizon"%' AS has_curve,
    (length(html) - length(replace(html, '<rect class="horizon"', ''))) / length('<rect class="horizon"') AS steps
FROM pgleak.report('1 hour') AS html;
INSERT INTO pgleak.horizon_samples
SELECT now() - i * interval '1 minute', 1000 * i, 3600, 'session', 'pid 1, <b>evil</b>, shop@shop'
FROM generate_series(20, 30) AS i UNION ALL
SELECT at, -1, -1, NULL, E'\x01' FROM unnest('{-infinity,infinity,4714-11-24 BC}'::timestamptz[]) AS at;
SELECT html LIKE '%<b>30,000 transactions</b>: session <b>pid 1, &lt;b&gt;evil&lt;/b&gt;, shop@shop</b>, for 1h 0m.</p>%' AS has_worst,
    html LIKE '%at most 30,000 transactions%' AS has_peak,
    html LIKE '%: 30,000 transactions</title><rect class="horizon"%' AS has_step
FROM pgleak.report('1 hour') AS html;
COMMIT;

-- Pools in trouble: no sample, all well, then one that leaks, with a gap in between; what nobody sampled is no trouble.
BEGIN;
TRUNCATE pgleak.pool_samples;
SELECT html LIKE '%<h2>Pools in trouble</h2><p class="soft">No sample was taken in this period.</p>%' AS has_no_sample
FROM pgleak.report('1 hour') AS html;
INSERT INTO pgleak.pool_samples (taken_at, place, scope, connections, in_use, leaked, waiting, capacity, verdict)
SELECT now() - i * interval '1 minute', 0, 'server', 20, 20, 0, 0, 97, 'ok' FROM generate_series(1, 50) AS i WHERE i NOT BETWEEN 20 AND 30;
SELECT html LIKE '%<p class="soft">Every pool was fine whenever a sample was taken.</p>%' AS is_fine,
    html LIKE '%class="lane pool"%' AS has_chart
FROM pgleak.report('1 hour') AS html;
INSERT INTO pgleak.pool_samples (taken_at, place, scope, database, role, application_name, connections, in_use, leaked, waiting, capacity, verdict)
SELECT now() - i * interval '1 minute', 1, 'pool', 'shop', 'shop', '<b>evil</b>', 15, 50 - i, GREATEST(40 - i, 0), 0, 15,
    CASE WHEN i > 35 THEN 'undersized' ELSE 'leaking' END
FROM generate_series(10, 40) AS i WHERE i NOT BETWEEN 20 AND 30 UNION ALL
SELECT now() - interval '9 minutes', 21, 'pool', 'shop', 'shop', '<b>evil</b>', 15, 2, 0, NULL, 15, 'ok' UNION ALL
SELECT at, 0, 'nonsense', NULL, E'\x01', NULL, -1, -5, 2147483647, NULL, 0, '<verdict>' FROM unnest('{-infinity,infinity,4714-11-24 BC}'::timestamptz[]) AS at;
-- Undersized at minute 40, leaking at 35, again after the gap, ok at last.
SELECT (length(html) - length(replace(html, '<line class="mark ', ''))) / length('<line class="mark ') AS marks,
    html ~ ': undersized, before: ok</title>' AS has_beginning,
    html ~ ': leaking, before: undersized</title>' AS has_change,
    html ~ ': leaking, before: no sample</title>' AS has_gap,
    html ~ ': ok, before: leaking</title>' AS has_end,
    html ~ '<tr><td data-label="When" class="time"><div>[-: 0-9]+</div></td><td data-label="Pool"><div>&lt;b&gt;evil&lt;/b&gt;<br><span class="soft">shop@shop</span></div></td><td data-label="Verdict"><div><span class="verdict undersized">undersized</span></div></td><td data-label="Before"><div>ok</div></td><td data-label="In use" class="number"><div>10 of 15</div></td><td data-label="Leaked" class="number"><div>0</div></td><td data-label="Waiting" class="number"><div>0</div></td></tr>' AS has_row,
    html ~ '<b>evil' AS is_unsafe
FROM pgleak.report('1 hour') AS html;
-- Eight curves at most, the worst first.
INSERT INTO pgleak.pool_samples (taken_at, place, scope, database, role, application_name, connections, in_use, leaked, verdict)
SELECT now() - interval '5 minutes', i, 'pool', 'shop', 'shop', 'small' || i, 1, 1, 1, 'leak' FROM generate_series(1, 20) AS i;
SELECT (length(html) - length(replace(html, 'class="lane pool"', ''))) / length('class="lane pool"') AS charts,
    html ~ '<p class="soft">These are the worst 8 of 21 pools that were in trouble.</p>' AS has_rest,
    strpos(html, 'class="lane pool"><div>&lt;b&gt;evil') > 0 AND strpos(html, 'class="lane pool"><div>&lt;b&gt;evil') < strpos(html, 'class="lane pool"><div>small') AS is_worst_first
FROM pgleak.report('1 hour') AS html;
COMMIT;
CALL pg_temp.connect('holder');
SELECT pg_temp.run('holder', 'BEGIN; SET application_name = ''<holder>''; SELECT 1 FROM pg_current_xact_id()');
SELECT pg_current_xact_id() IS NOT NULL AS assigned;
SELECT html ~ format('session <b>&lt;holder&gt;</b><br>[^/]*, pid %1$s[^/]*</span>.*<code>SELECT pgleak.cancel.%1$s.</code>', pid) AS has_holder
FROM pgleak.report('1 hour') AS html, session WHERE session = 'holder';
CALL pg_temp.disconnect_all();

-- Nonsense.
\set SHOW_CONTEXT never
SELECT pgleak.report('-1 day');
SELECT pg_temp.error_of($$SELECT pgleak.report(NULL)$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('0')$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('1000 years')$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('178000000 years')$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('-178000000 years')$$);
SELECT length(pgleak.report('10 years')) > 1000 AS has_report;
SELECT length(pgleak.report('1 microsecond')) > 1000 AS has_report;

-- Durations read well.
SELECT d, pgleak.format_duration(d)
FROM unnest(ARRAY[interval '0', '-1 s', '0.04 s', '9.99 s', '59.9 s', '61 s', '3599 s', '1 h', '25 h', '40 days', NULL]) AS d;

-- It is for pg_monitor.
CREATE ROLE regress_pgleak_monitor IN ROLE pg_monitor;
CREATE ROLE regress_pgleak_reader;
SET ROLE regress_pgleak_monitor;
SELECT length(pgleak.report()) > 1000 AS has_report;
SET ROLE regress_pgleak_reader;
SELECT pgleak.report();
RESET ROLE;
DROP ROLE regress_pgleak_monitor, regress_pgleak_reader;
ALTER ROLE CURRENT_USER RESET pgleak.idle_leak_after;
