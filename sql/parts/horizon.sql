-- The vacuum horizon: everything that holds back VACUUM or keeps WAL. Slots, prepared transactions and transaction ids
-- are for everybody to see, as in the server's own views.

CREATE FUNCTION pgleak.read_horizon(
    OUT kind text,
    OUT database text,
    OUT pid integer,
    OUT gid text,
    OUT slot_name text,
    OUT application_name text,
    OUT role text,
    OUT backend_type text,
    OUT state text,
    OUT xid xid,
    OUT xmin xid,
    OUT catalog_xmin xid,
    OUT restart_lsn pg_lsn,
    OUT holds text,
    OUT age_transactions bigint,
    OUT since timestamp with time zone,
    OUT age interval,
    OUT retained_bytes bigint,
    OUT active boolean,
    OUT wal_status text,
    OUT is_oldest boolean,
    OUT remedy text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_horizon'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_horizon() IS 'what holds back VACUUM or keeps WAL now; use the view pgleak.horizon';

CREATE VIEW pgleak.horizon AS
SELECT
    h.kind,
    h.database,
    h.pid,
    h.gid,
    h.slot_name,
    h.application_name,
    h.role,
    h.backend_type,
    h.state,
    h.xid,
    h.xmin,
    h.catalog_xmin,
    h.restart_lsn,
    h.holds,
    h.age_transactions,
    h.since,
    h.age,
    h.retained_bytes,
    h.active,
    h.wal_status,
    h.is_oldest,
    h.remedy
FROM pgleak.read_horizon() h
ORDER BY h.age_transactions DESC NULLS LAST, h.retained_bytes DESC NULLS LAST, h.kind, h.since, h.pid;
COMMENT ON VIEW pgleak.horizon IS 'what holds back VACUUM or keeps WAL now, the oldest first; no row with is_oldest means that nothing holds VACUUM back; other users'' sessions are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.horizon.kind IS 'session, prepared transaction, replication slot, standby feedback (of a standby without a slot), or background worker, which autovacuum is too';
COMMENT ON COLUMN pgleak.horizon.database IS 'the database whose VACUUM it holds back; NULL: every database. On a standby, where every holder counts for all, the one it is in';
COMMENT ON COLUMN pgleak.horizon.pid IS 'process ID; of a slot, that of the process that uses it; NULL for a prepared transaction';
COMMENT ON COLUMN pgleak.horizon.gid IS 'identifier of the prepared transaction';
COMMENT ON COLUMN pgleak.horizon.slot_name IS 'name of the replication slot';
COMMENT ON COLUMN pgleak.horizon.application_name IS 'application_name of the process: of a standby, or of the consumer of a slot, by which they name themselves';
COMMENT ON COLUMN pgleak.horizon.role IS 'its role at login; owner of a prepared transaction';
COMMENT ON COLUMN pgleak.horizon.backend_type IS 'what kind of process it is, as in pg_stat_activity';
COMMENT ON COLUMN pgleak.horizon.state IS 'state of the session, as in pg_stat_activity';
COMMENT ON COLUMN pgleak.horizon.xid IS 'its own transaction ID';
COMMENT ON COLUMN pgleak.horizon.xmin IS 'the oldest transaction whose effects its snapshots may have to ignore; what a slot or a standby asks to be kept';
COMMENT ON COLUMN pgleak.horizon.catalog_xmin IS 'the same for rows of system catalogs, which logical decoding needs';
COMMENT ON COLUMN pgleak.horizon.restart_lsn IS 'the oldest WAL that a slot keeps';
COMMENT ON COLUMN pgleak.horizon.holds IS 'what it keeps: dead rows of tables, dead rows of catalogs, WAL; on a standby also replay, and tables and catalogs of the primary through feedback';
COMMENT ON COLUMN pgleak.horizon.age_transactions IS 'how many transaction IDs were assigned since the oldest one that it holds; NULL if it holds none';
COMMENT ON COLUMN pgleak.horizon.since IS 'start of its transaction, or when it was prepared; of slots and standbys, when the oldest transaction that they hold had been assigned for certain: the truth may be earlier';
COMMENT ON COLUMN pgleak.horizon.age IS 'the time since then; for slots and standbys at least that';
COMMENT ON COLUMN pgleak.horizon.retained_bytes IS 'how much WAL a slot keeps';
COMMENT ON COLUMN pgleak.horizon.active IS 'a process uses the slot';
COMMENT ON COLUMN pgleak.horizon.wal_status IS 'whether the WAL that a slot needs is there, as in pg_replication_slots';
COMMENT ON COLUMN pgleak.horizon.is_oldest IS 'nothing older holds back VACUUM, of tables or of catalogs, in its database; if the holder counts for every database, in those without an older one of their own';
COMMENT ON COLUMN pgleak.horizon.remedy IS 'what ends it: a statement to type where there is one, else a sentence; NULL for a session that is masked';
GRANT SELECT ON pgleak.horizon TO PUBLIC;

-- For the curve of the report: the server cannot say who held back VACUUM an hour ago.
CREATE TABLE pgleak.horizon_samples (
    taken_at timestamp with time zone PRIMARY KEY,
    age_transactions bigint,
    oldest_seconds bigint,
    kind text,
    holder text
);
COMMENT ON TABLE pgleak.horizon_samples IS 'who held back VACUUM, one row a minute; written by the pgleak recorder on a primary';
COMMENT ON COLUMN pgleak.horizon_samples.taken_at IS 'when the recorder looked';
COMMENT ON COLUMN pgleak.horizon_samples.age_transactions IS 'age of the oldest holder of any database, as in pgleak.horizon; NULL, as are the columns below, if nobody held back VACUUM';
COMMENT ON COLUMN pgleak.horizon_samples.oldest_seconds IS 'how long this holder had been holding, in seconds, where that is known';
COMMENT ON COLUMN pgleak.horizon_samples.kind IS 'kind of this holder, as in pgleak.horizon';
COMMENT ON COLUMN pgleak.horizon_samples.holder IS 'who it was: process ID, application and role@database, or the gid, the slot, the standby';
REVOKE ALL ON pgleak.horizon_samples FROM PUBLIC;
GRANT SELECT ON pgleak.horizon_samples TO pg_monitor;
