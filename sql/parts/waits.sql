-- Lock waits: who waits, and who is at the root of it. Pids and locks are for everybody to see, as in pg_locks.

CREATE FUNCTION pgleak.read_waits(
    OUT waiter_pid integer,
    OUT waiter_database text,
    OUT waiter_role text,
    OUT waiter_application_name text,
    OUT waiter_backend_type text,
    OUT waiter_query text,
    OUT locktype text,
    OUT relation text,
    OUT mode text,
    OUT since timestamp with time zone,
    OUT waiting_for interval,
    OUT depth integer,
    OUT root_pid integer,
    OUT root_xid xid,
    OUT root_kind text,
    OUT root_state text,
    OUT root_application_name text,
    OUT root_database text,
    OUT root_role text,
    OUT root_idle_for interval,
    OUT root_transaction_age interval,
    OUT root_route text,
    OUT place integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_waits'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_waits() IS 'lock waits and their roots as the lock table shows them now; use the view pgleak.waits';

CREATE VIEW pgleak.waits AS
SELECT
    w.waiter_pid,
    w.waiter_database,
    w.waiter_role,
    w.waiter_application_name,
    w.waiter_backend_type,
    w.waiter_query,
    w.locktype,
    w.relation,
    w.mode,
    w.since,
    w.waiting_for,
    nullif(w.depth, 0) AS depth,
    w.root_pid,
    p.gid AS root_gid,
    w.root_kind,
    w.root_state,
    w.root_application_name,
    coalesce(w.root_database, p.database::text) AS root_database,
    coalesce(w.root_role, p.owner::text) AS root_role,
    w.root_idle_for,
    coalesce(w.root_transaction_age, pg_catalog.clock_timestamp() - p.prepared) AS root_transaction_age,
    w.root_route
FROM pgleak.read_waits() w
LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = w.root_xid
ORDER BY w.place;
COMMENT ON VIEW pgleak.waits IS 'who waits for a lock now, and behind whom: one row for each waiter and root, the root with the most waiters first, then those nearest to it; read from the lock table, and for replay on a standby that waits for sessions; other users'' sessions are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.waits.waiter_pid IS 'process ID of the process that waits; of the leader in a parallel query';
COMMENT ON COLUMN pgleak.waits.waiter_database IS 'its database; NULL for a process without one';
COMMENT ON COLUMN pgleak.waits.waiter_role IS 'its role at login; NULL for a process without one';
COMMENT ON COLUMN pgleak.waits.waiter_application_name IS 'its application_name';
COMMENT ON COLUMN pgleak.waits.waiter_backend_type IS 'what kind of process it is, as in pg_stat_activity';
COMMENT ON COLUMN pgleak.waits.waiter_query IS 'the statement that waits';
COMMENT ON COLUMN pgleak.waits.locktype IS 'type of the lock that it waits for, as in pg_locks; a wait for a row is one for a transactionid or a tuple; RecoveryConflictSnapshot or RecoveryConflictTablespace if replay on a standby waits without a lock';
COMMENT ON COLUMN pgleak.waits.relation IS 'relation of that lock: its name in the database of the reader, else its oid; NULL if the lock is not on a relation';
COMMENT ON COLUMN pgleak.waits.mode IS 'mode in which it wants the lock; NULL for a wait without a lock';
COMMENT ON COLUMN pgleak.waits.since IS 'when this wait began; NULL for its first moment';
COMMENT ON COLUMN pgleak.waits.waiting_for IS 'how long it has waited';
COMMENT ON COLUMN pgleak.waits.depth IS '1: it waits for the root itself; 2: for one that waits for the root; and so on; NULL without a root';
COMMENT ON COLUMN pgleak.waits.root_pid IS 'process ID of the root, which keeps others waiting and waits for nobody; for RecoveryConflictSnapshot a guess: the session with the oldest snapshot; NULL for a prepared transaction, in a deadlock, and while it is unknown';
COMMENT ON COLUMN pgleak.waits.root_gid IS 'identifier of the root if it is a prepared transaction';
COMMENT ON COLUMN pgleak.waits.root_kind IS 'session, prepared transaction, or background process; NULL in a deadlock, which has no root, and while the root is unknown';
COMMENT ON COLUMN pgleak.waits.root_state IS 'state of the root''s session, as in pg_stat_activity';
COMMENT ON COLUMN pgleak.waits.root_application_name IS 'application_name of the root';
COMMENT ON COLUMN pgleak.waits.root_database IS 'database of the root';
COMMENT ON COLUMN pgleak.waits.root_role IS 'role of the root at login; owner of a prepared transaction';
COMMENT ON COLUMN pgleak.waits.root_idle_for IS 'how long the root has been idle, in a transaction or outside; NULL while it is active';
COMMENT ON COLUMN pgleak.waits.root_transaction_age IS 'age of the root''s transaction; of a prepared transaction, since it was prepared';
COMMENT ON COLUMN pgleak.waits.root_route IS 'the code that the root''s tags name: route, or else controller#action';
GRANT SELECT ON pgleak.waits TO PUBLIC;
