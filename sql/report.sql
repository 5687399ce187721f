-- pgleak.report(): what a reader without a browser can tell of the page; test/report looks at it in one.
\i test/regress/helpers.sql

TRUNCATE pgleak.history;
ALTER ROLE CURRENT_USER SET pgleak.idle_leak_after = '10ms';
CALL pg_temp.connect('evil');
SELECT pg_temp.run('evil', $$SET application_name = '<b>"Tom & Jerry''s"</b>'; BEGIN; SELECT '</code><script>'$$);
CALL pg_temp.wait_for('SELECT count(*) = 1 FROM history');

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
-- Control characters, which HTML does not have.
SELECT pgleak.report_escape(E'\x01\x1b[31m\x7f');

CALL pg_temp.disconnect_all();

-- Nonsense.
\set SHOW_CONTEXT never
SELECT pgleak.report('-1 day');
SELECT pg_temp.error_of($$SELECT pgleak.report(NULL)$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('0')$$);
SELECT pg_temp.error_of($$SELECT pgleak.report('1000 years')$$);

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
