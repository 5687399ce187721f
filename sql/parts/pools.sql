-- Pools: is one leaking, or just too small?

CREATE FUNCTION pgleak.read_pools(
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr text,
    OUT connections integer,
    OUT active integer,
    OUT idle integer,
    OUT idle_in_transaction integer,
    OUT leaked integer,
    OUT waiting integer,
    OUT peak integer,
    OUT capacity integer,
    OUT in_use_percent integer,
    OUT busy_since timestamp with time zone,
    OUT leaks_per_hour double precision,
    OUT exhausted_at timestamp with time zone,
    OUT verdict text,
    OUT advice text,
    OUT suspects integer,
    OUT oldest_suspect_idle interval,
    OUT scope text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_pools'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_pools() IS 'pools as of the last scan that counted them; use the view pgleak.pools';

CREATE VIEW pgleak.pools AS
SELECT
    p.database,
    p.role,
    p.application_name,
    p.client_addr::pg_catalog.inet AS client_addr,
    p.connections,
    p.active,
    p.idle,
    p.idle_in_transaction,
    p.leaked,
    p.waiting,
    p.peak,
    p.capacity,
    p.in_use_percent,
    p.busy_since,
    p.leaks_per_hour,
    p.exhausted_at,
    p.verdict,
    p.advice,
    p.suspects,
    p.oldest_suspect_idle,
    p.scope
FROM pgleak.read_pools() p;
COMMENT ON VIEW pgleak.pools IS 'whether a pool leaks, waits for somebody else, or is just too small: one row for the sessions that share database, role, application and client_addr, and one for the whole server; read from shared memory, other users'' rows are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.pools.database IS 'database of the sessions; NULL, like role and application_name, unless scope is pool or application';
COMMENT ON COLUMN pgleak.pools.application_name IS 'application of the sessions: their application_name as pgleak.normalize_application_name() gives it, or whole while several share it and no other has come';
COMMENT ON COLUMN pgleak.pools.client_addr IS 'address that the connections come from, such as that of PgBouncer; NULL for a Unix socket, or unless scope is pool';
COMMENT ON COLUMN pgleak.pools.connections IS 'number of sessions';
COMMENT ON COLUMN pgleak.pools.idle IS 'sessions outside of any transaction: free, as far as the server can see';
COMMENT ON COLUMN pgleak.pools.leaked IS 'sessions with an open leak, without active ones that only keep others waiting or wait for a lock themselves';
COMMENT ON COLUMN pgleak.pools.waiting IS 'sessions that wait for locks, averaged over the last second; they are active, and count as such too';
COMMENT ON COLUMN pgleak.pools.peak IS 'most connections seen at a time in the last 24 hours, or since the application restarted';
COMMENT ON COLUMN pgleak.pools.capacity IS 'CONNECTION LIMIT of the role or the database if there is one, otherwise peak; for the server max_connections minus reserved connections';
COMMENT ON COLUMN pgleak.pools.in_use_percent IS 'share of the capacity that is active or idle in a transaction, counting other pools under the same limit; for the server all connections count';
COMMENT ON COLUMN pgleak.pools.busy_since IS 'since when this share has been at or above pgleak.pool_busy_percent; NULL if it is below';
COMMENT ON COLUMN pgleak.pools.leaks_per_hour IS 'leaks that began minus leaks that ended, per hour';
COMMENT ON COLUMN pgleak.pools.exhausted_at IS 'when the pool will be exhausted at that rate, or since when it has been and nobody has got a connection; NULL if that is not in sight, or with less than three leaks in the first five minutes';
COMMENT ON COLUMN pgleak.pools.verdict IS 'ok; leak: something leaks and there is room left; leaking: leaks hold a quarter of what is in use, or the pool is busy too; undersized: busy with work for pgleak.pool_busy_after and leaks do not explain it; blocked: at least half of what is in use waits for locks';
COMMENT ON COLUMN pgleak.pools.advice IS 'what to do, in one sentence; NULL if nothing';
COMMENT ON COLUMN pgleak.pools.suspects IS 'idle sessions that the pool keeps passing over, or all of a pool that has fallen silent all of a sudden: perhaps checked out and forgotten outside of a transaction; a guess';
COMMENT ON COLUMN pgleak.pools.oldest_suspect_idle IS 'longest idle time of a suspect';
COMMENT ON COLUMN pgleak.pools.scope IS 'pool; application: the sum of its pools at several addresses; server: all sessions; other: all sessions beyond the first pgleak.max_pools pools';
GRANT SELECT ON pgleak.pools TO PUBLIC;

-- For the curves of the report: the server cannot say when a pool got into trouble.
CREATE TABLE pgleak.pool_samples (
    taken_at timestamp with time zone,
    place integer,
    scope text NOT NULL,
    database text,
    role text,
    application_name text,
    client_addr inet,
    connections integer,
    in_use integer,
    leaked integer,
    waiting integer,
    capacity integer,
    verdict text,
    PRIMARY KEY (taken_at, place)
);
COMMENT ON TABLE pgleak.pool_samples IS 'pools in trouble, one row for each and minute, and one for the whole server; written by the pgleak recorder on a primary';
COMMENT ON COLUMN pgleak.pool_samples.taken_at IS 'when the recorder looked; the same in all rows of a sample';
COMMENT ON COLUMN pgleak.pool_samples.place IS '0: the whole server; 1 to 20: pools in trouble, the worst first; from 21 on: pools whose trouble is over';
COMMENT ON COLUMN pgleak.pool_samples.scope IS 'pool, application, server or other, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.database IS 'database of the sessions; NULL, like role and application_name, unless scope is pool or application';
COMMENT ON COLUMN pgleak.pool_samples.role IS 'their role at login';
COMMENT ON COLUMN pgleak.pool_samples.application_name IS 'application of the sessions, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.client_addr IS 'address that the connections came from, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.connections IS 'number of sessions; 0: the pool was closed';
COMMENT ON COLUMN pgleak.pool_samples.in_use IS 'sessions that were active or idle in a transaction; of the whole server, all';
COMMENT ON COLUMN pgleak.pool_samples.leaked IS 'sessions with an open leak, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.waiting IS 'sessions that waited for locks, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.capacity IS 'CONNECTION LIMIT or peak, as in pgleak.pools';
COMMENT ON COLUMN pgleak.pool_samples.verdict IS 'verdict, as in pgleak.pools; NULL if the pool was closed';
REVOKE ALL ON pgleak.pool_samples FROM PUBLIC;
GRANT SELECT ON pgleak.pool_samples TO pg_monitor;
