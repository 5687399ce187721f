-- History: one row for each episode.

CREATE TABLE pgleak.history (
    system_identifier bigint NOT NULL,
    leak_id bigint NOT NULL,
    kind text NOT NULL DEFAULT 'session',
    pid integer,
    gid text,
    database text NOT NULL,
    role text NOT NULL,
    application_name text,
    client_addr inet,
    client_port integer,
    backend_start timestamp with time zone,
    xact_start timestamp with time zone,
    prepared_at timestamp with time zone,
    state text,
    wait_event text,
    idle_since timestamp with time zone,
    idle_for interval,
    transaction_age interval,
    clock text NOT NULL,
    detected_at timestamp with time zone NOT NULL,
    leak_after interval NOT NULL,
    limit_source text NOT NULL,
    holds_xid xid,
    holds_xmin xid,
    xmin_age bigint,
    locks integer,
    blocked integer,
    blocked_for interval,
    impact text,
    held jsonb,
    waiting jsonb,
    oldest_for interval,
    retained_bytes bigint,
    slot_name text,
    notify_queue_usage double precision,
    subxact_overflow boolean,
    client_gone boolean,
    last_action text,
    last_action_at timestamp with time zone,
    last_action_result text,
    action_source text,
    query text,
    query_id bigint,
    tags jsonb,
    code text,
    trail jsonb,
    ended_at timestamp with time zone,
    duration interval,
    outcome text,
    PRIMARY KEY (system_identifier, leak_id)
);
-- For pruning, for finding open episodes, and for reading a period.
CREATE INDEX history_ended_at_idx ON pgleak.history (ended_at);

COMMENT ON TABLE pgleak.history IS 'one row for each episode, a leak from its detection to its end; written by the pgleak recorder';
COMMENT ON COLUMN pgleak.history.system_identifier IS 'the server that saw the leak; keeps the rows of replicated servers apart';
COMMENT ON COLUMN pgleak.history.leak_id IS 'number of the episode, as in pgleak.leaks and in the server log';
COMMENT ON COLUMN pgleak.history.pid IS 'process ID of the backend; NULL, as are all columns about a session, for a prepared transaction';
COMMENT ON COLUMN pgleak.history.kind IS 'session or prepared transaction';
COMMENT ON COLUMN pgleak.history.gid IS 'identifier of the prepared transaction; of a session that ended as prepared: that of the transaction it became, whose row, if it leaked too, has the same gid and holds_xid';
COMMENT ON COLUMN pgleak.history.database IS 'database of the session at login, or of the prepared transaction';
COMMENT ON COLUMN pgleak.history.role IS 'role of the session at login, or owner of the prepared transaction';
COMMENT ON COLUMN pgleak.history.application_name IS 'application_name at detection';
COMMENT ON COLUMN pgleak.history.client_addr IS 'address of the client, NULL for a Unix socket; behind PgBouncer with application_name_add_host the address that application_name says, which nobody has verified: the log has that of the connection';
COMMENT ON COLUMN pgleak.history.client_port IS 'port of the client, from the same place; -1 for a Unix socket';
COMMENT ON COLUMN pgleak.history.backend_start IS 'when the session began';
COMMENT ON COLUMN pgleak.history.xact_start IS 'when the transaction began; NULL for a session that held something outside of a transaction';
COMMENT ON COLUMN pgleak.history.prepared_at IS 'when it was prepared';
COMMENT ON COLUMN pgleak.history.state IS 'state of the session at detection';
COMMENT ON COLUMN pgleak.history.wait_event IS 'what the session waited for at detection: wait_event of pg_stat_activity, after its type unless that is Client';
COMMENT ON COLUMN pgleak.history.idle_since IS 'at detection: since when the session had been idle in its transaction';
COMMENT ON COLUMN pgleak.history.idle_for IS 'longest time that the session waited for its client: idle, or in the middle of a command without progress';
COMMENT ON COLUMN pgleak.history.transaction_age IS 'age of the transaction at the last scan that saw it, since it was prepared for a prepared one; NULL outside of one';
COMMENT ON COLUMN pgleak.history.clock IS 'the clock that passed its limit: idle, transaction, blocking or prepared';
COMMENT ON COLUMN pgleak.history.detected_at IS 'when the leak was detected';
COMMENT ON COLUMN pgleak.history.leak_after IS 'the limit that was passed';
COMMENT ON COLUMN pgleak.history.limit_source IS 'where that limit came from: server, session (role, database or SET), a rule of pgleak.rules, or by hand';
COMMENT ON COLUMN pgleak.history.holds_xid IS 'transaction ID that the transaction held';
COMMENT ON COLUMN pgleak.history.holds_xmin IS 'xmin of the snapshot that it held last: the oldest transaction that VACUUM could not clean up after';
COMMENT ON COLUMN pgleak.history.xmin_age IS 'highest age, in transactions, of the older of holds_xid and holds_xmin';
COMMENT ON COLUMN pgleak.history.locks IS 'highest number of locks held, not counting the lock of each transaction on its own ID';
COMMENT ON COLUMN pgleak.history.blocked IS 'highest number of sessions that waited behind it at a time, directly or through others';
COMMENT ON COLUMN pgleak.history.blocked_for IS 'longest time that one of these sessions waited';
COMMENT ON COLUMN pgleak.history.impact IS 'worst impact: none, locks, horizon (VACUUM) or blocking';
COMMENT ON COLUMN pgleak.history.held IS 'at its worst moment, when it blocked most or else held most locks: at most 8 of its locks, those with the most waiters first, then the strongest; before them the notification queue if it LISTENs; see doc/evidence.md';
COMMENT ON COLUMN pgleak.history.waiting IS 'at most 8 of those who waited behind it at that moment, the nearest first; NULL if nobody ever did';
COMMENT ON COLUMN pgleak.history.oldest_for IS 'for how long, as far as samples each second could tell, nothing older held back VACUUM in its database (on a standby: in the server); NULL if something older did';
COMMENT ON COLUMN pgleak.history.retained_bytes IS 'most WAL that a logical replication slot kept because the transaction was open, although the consumer of the slot had it already';
COMMENT ON COLUMN pgleak.history.slot_name IS 'the slot that kept it';
COMMENT ON COLUMN pgleak.history.notify_queue_usage IS 'highest share of the notification queue in use (0 to 1) while it LISTENed and did not read; NULL if it did not LISTEN, or that is not known';
COMMENT ON COLUMN pgleak.history.subxact_overflow IS 'whether the transaction had more than 64 subtransactions at a time, which made the snapshots of all sessions slower; NULL without a sample';
COMMENT ON COLUMN pgleak.history.client_gone IS 'whether its client had closed the connection when pgleak last looked; NULL if it did not or could not tell';
COMMENT ON COLUMN pgleak.history.query IS 'last statement at detection';
COMMENT ON COLUMN pgleak.history.query_id IS 'query identifier of that statement, the same for all statements of one form';
COMMENT ON COLUMN pgleak.history.tags IS 'at detection: tags of the newest statement of the transaction that has any, from its comments (sqlcommenter, marginalia) and from the setting pgleak.tags; "truncated": true if there were more or longer ones';
COMMENT ON COLUMN pgleak.history.code IS 'the place in the application''s source that these tags name, such as app/orders.py:42 get_orders';
COMMENT ON COLUMN pgleak.history.last_action IS 'what pgleak did, or would have done in a dry run: cancel or terminate';
COMMENT ON COLUMN pgleak.history.last_action_at IS 'when it did so';
COMMENT ON COLUMN pgleak.history.last_action_result IS 'its result: requested; done, once its effect was seen; done, still blocks N; dry run; skipped; not possible safely; no effect; no effect: waits for its client';
COMMENT ON COLUMN pgleak.history.action_source IS 'what demanded it: server, session, a rule of pgleak.rules, or by hand by a login role';
COMMENT ON COLUMN pgleak.history.trail IS 'first two and last statements of the transaction, oldest first: when each began, its query_id, its first 128 bytes, for how many seconds the session had been idle before it; the same statement in a row is one, with its count; see pgleak.timeline() and pgleak.trail_size';
COMMENT ON COLUMN pgleak.history.ended_at IS 'when the leak ended: with its transaction or session, or when nobody waited any more; NULL while it is open';
COMMENT ON COLUMN pgleak.history.duration IS 'time from detection to the end';
COMMENT ON COLUMN pgleak.history.outcome IS 'how it ended: committed, rolled back, prepared, disconnected, cancelled, terminated, released (held outside of a transaction: nobody has waited for 10 s, or its client reads notifications again), server stopped, unknown (a prepared transaction is gone, and the commit log no longer says how); NULL while open and not cancelled';
COMMENT ON INDEX pgleak.history_ended_at_idx IS 'for pruning the oldest rows, finding open ones, and reading a period';
REVOKE ALL ON pgleak.history FROM PUBLIC;
GRANT SELECT ON pgleak.history TO pg_monitor;
