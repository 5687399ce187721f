-- Idle times: how long the sessions of each pool are idle in a transaction, and the limits that follow from it.

CREATE FUNCTION pgleak.read_idle_times(
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr text,
    OUT count bigint,
    OUT total interval,
    OUT p50 interval,
    OUT p95 interval,
    OUT p99 interval,
    OUT max interval,
    OUT busy_share double precision,
    OUT since timestamp with time zone,
    OUT scope text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_idle_times'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_idle_times() IS 'idle times of pools, summed up once a second; use the view pgleak.idle_times';

CREATE VIEW pgleak.idle_times AS
SELECT
    t.database,
    t.role,
    t.application_name,
    t.client_addr::pg_catalog.inet AS client_addr,
    t.count,
    t.total,
    t.p50,
    t.p95,
    t.p99,
    t.max,
    t.busy_share,
    t.since,
    t.scope
FROM pgleak.read_idle_times() t;
COMMENT ON VIEW pgleak.idle_times IS 'how long the sessions of a pool are idle in a transaction between two statements: one row for each pool and one for the whole server; read from shared memory, other users'' rows are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.idle_times.database IS 'database of the sessions; NULL, like role and application_name, unless scope is pool';
COMMENT ON COLUMN pgleak.idle_times.client_addr IS 'address of the client; NULL for a Unix socket';
COMMENT ON COLUMN pgleak.idle_times.count IS 'idle times that have ended, of sessions that have ended too';
COMMENT ON COLUMN pgleak.idle_times.total IS 'their sum; NULL, like the following columns, if there is none';
COMMENT ON COLUMN pgleak.idle_times.p50 IS 'median, off by less than half of the true value or 256 us, as are p95 and p99';
COMMENT ON COLUMN pgleak.idle_times.p95 IS 'time that 95 percent do not exceed';
COMMENT ON COLUMN pgleak.idle_times.p99 IS 'time that 99 percent do not exceed';
COMMENT ON COLUMN pgleak.idle_times.max IS 'the longest, exact';
COMMENT ON COLUMN pgleak.idle_times.busy_share IS 'share of its time in use that the pool was idle in a transaction, 0 to 1, sampled once a second; NULL if it was never seen in use';
COMMENT ON COLUMN pgleak.idle_times.since IS 'when counting began: the first session of the pool, the start of the server, or pgleak.reset()';
COMMENT ON COLUMN pgleak.idle_times.scope IS 'pool; server: all sessions; other: sessions without a row of their own';
GRANT SELECT ON pgleak.idle_times TO PUBLIC;

CREATE FUNCTION pgleak.choose_limits(
    OUT setting text,
    OUT current_value text,
    OUT suggested_value text,
    OUT reason text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_choose_limits'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 9;
COMMENT ON FUNCTION pgleak.choose_limits() IS 'limits that pgleak.idle_times suggests, with the reason for each; suggested_value is NULL where idle times do not support a value';
REVOKE ALL ON FUNCTION pgleak.choose_limits() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.choose_limits() TO pg_monitor;
