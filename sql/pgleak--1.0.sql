-- pgleak 1.0: the SQL objects. Every name is qualified: whoever runs this may have any search_path.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pgleak" to load this file. \quit

-- Fails if there is one already: it might belong to somebody who would then own our objects.
CREATE SCHEMA pgleak;
REVOKE ALL ON SCHEMA pgleak FROM PUBLIC;
GRANT USAGE ON SCHEMA pgleak TO PUBLIC;
COMMENT ON SCHEMA pgleak IS 'session leaks: connections that an application took and left idle in a transaction';

-- Functions over shared memory ------------------------------------------------------------------------------

CREATE FUNCTION pgleak.read_leaks(
    OUT leak_id bigint,
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr text,
    OUT client_port integer,
    OUT backend_start timestamp with time zone,
    OUT xact_start timestamp with time zone,
    OUT state text,
    OUT idle_since timestamp with time zone,
    OUT idle_for interval,
    OUT transaction_age interval,
    OUT clock text,
    OUT detected_at timestamp with time zone,
    OUT leak_after interval,
    OUT limit_source text,
    OUT next_action text,
    OUT next_action_at timestamp with time zone,
    OUT last_action text,
    OUT last_action_at timestamp with time zone,
    OUT last_action_result text,
    OUT query text,
    OUT query_id bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_leaks'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_leaks() IS 'open leaks as the scanner and their sessions show them now; use the view pgleak.leaks';

CREATE FUNCTION pgleak.read_stats(
    OUT scans bigint,
    OUT last_scan_at timestamp with time zone,
    OUT last_scan_us bigint,
    OUT leaks bigint,
    OUT cancels bigint,
    OUT cancels_failed bigint,
    OUT terminates bigint,
    OUT escaped bigint,
    OUT events_queued bigint,
    OUT events_written bigint,
    OUT events_dropped bigint,
    OUT recorder_errors bigint,
    OUT last_error text,
    OUT last_error_at timestamp with time zone,
    OUT started_at timestamp with time zone,
    OUT is_recording boolean)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_stats'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION pgleak.read_stats() IS 'counters of the two workers; use the view pgleak.stats';

CREATE FUNCTION pgleak.scan()
RETURNS bigint
AS 'MODULE_PATHNAME', 'pgleak_request_scan'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.scan() IS 'has the scanner look now and returns the number of open leaks';
REVOKE ALL ON FUNCTION pgleak.scan() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.scan() TO pg_monitor;

CREATE FUNCTION pgleak.reset()
RETURNS void
AS 'MODULE_PATHNAME', 'pgleak_reset_counters'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.reset() IS 'sets the counters of pgleak.stats to zero; history and open leaks stay';
REVOKE ALL ON FUNCTION pgleak.reset() FROM PUBLIC;

-- Their permissions are checked inside, by the rules of pg_cancel_backend and pg_terminate_backend.
CREATE FUNCTION pgleak.cancel(pid integer)
RETURNS boolean
AS 'MODULE_PATHNAME', 'pgleak_cancel_session'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.cancel(integer) IS 'rolls back the transaction of a session that is idle in it, without disconnecting the client; of an active session it cancels the query';

CREATE FUNCTION pgleak.terminate(pid integer)
RETURNS boolean
AS 'MODULE_PATHNAME', 'pgleak_terminate_session'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.terminate(integer) IS 'ends the connection of a session in a transaction, with a reason that its client can read';

-- History ----------------------------------------------------------------------------------------------------

CREATE TABLE pgleak.history (
    system_identifier bigint NOT NULL,
    leak_id bigint NOT NULL,
    pid integer NOT NULL,
    database text NOT NULL,
    role text NOT NULL,
    application_name text NOT NULL,
    client_addr inet,
    client_port integer,
    backend_start timestamp with time zone NOT NULL,
    xact_start timestamp with time zone,
    state text NOT NULL,
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
    last_action text,
    last_action_at timestamp with time zone,
    last_action_result text,
    query text,
    query_id bigint,
    tags jsonb,
    trail jsonb,
    ended_at timestamp with time zone,
    duration interval,
    outcome text,
    PRIMARY KEY (system_identifier, leak_id)
);
-- Serves the pruning, and finding what is still open.
CREATE INDEX history_ended_at_idx ON pgleak.history (ended_at);

COMMENT ON TABLE pgleak.history IS 'one row for each episode: a leak from its detection to its end; written by the pgleak recorder';
COMMENT ON COLUMN pgleak.history.system_identifier IS 'which server saw it: keeps rows of replicated servers apart';
COMMENT ON COLUMN pgleak.history.leak_id IS 'number of the episode, as in pgleak.leaks and in the server log';
COMMENT ON COLUMN pgleak.history.pid IS 'process id of the backend';
COMMENT ON COLUMN pgleak.history.database IS 'database of the session, as of its login';
COMMENT ON COLUMN pgleak.history.role IS 'role of the session, as of its login';
COMMENT ON COLUMN pgleak.history.application_name IS 'application_name at detection';
COMMENT ON COLUMN pgleak.history.client_addr IS 'address of the client; NULL for a unix socket';
COMMENT ON COLUMN pgleak.history.client_port IS 'port of the client; -1 for a unix socket';
COMMENT ON COLUMN pgleak.history.backend_start IS 'when the session began';
COMMENT ON COLUMN pgleak.history.xact_start IS 'when the transaction began';
COMMENT ON COLUMN pgleak.history.state IS 'state of the session at detection';
COMMENT ON COLUMN pgleak.history.idle_since IS 'at detection: since when the session was idle in its transaction';
COMMENT ON COLUMN pgleak.history.idle_for IS 'longest time the session was idle between two statements of the transaction';
COMMENT ON COLUMN pgleak.history.transaction_age IS 'age of the transaction when it was last looked at';
COMMENT ON COLUMN pgleak.history.clock IS 'the clock whose limit was passed: idle or transaction';
COMMENT ON COLUMN pgleak.history.detected_at IS 'when the leak was detected';
COMMENT ON COLUMN pgleak.history.leak_after IS 'the limit that was passed';
COMMENT ON COLUMN pgleak.history.limit_source IS 'where that limit came from: server, session (role, database or SET), or by hand';
COMMENT ON COLUMN pgleak.history.query IS 'the last statement at detection';
COMMENT ON COLUMN pgleak.history.query_id IS 'its query identifier, the same for all statements of one form';
COMMENT ON COLUMN pgleak.history.last_action IS 'what pgleak did, or would have done in a dry run: cancel or terminate';
COMMENT ON COLUMN pgleak.history.last_action_at IS 'when';
COMMENT ON COLUMN pgleak.history.last_action_result IS 'what became of it: requested, done, dry run, escaped, not possible safely';
COMMENT ON COLUMN pgleak.history.ended_at IS 'when the transaction or its session ended; NULL while the leak is open';
COMMENT ON COLUMN pgleak.history.duration IS 'from detection to the end';
COMMENT ON COLUMN pgleak.history.outcome IS 'how it ended: committed, rolled back, prepared, disconnected, cancelled, terminated, server stopped; NULL while open and not cancelled';
COMMENT ON INDEX pgleak.history_ended_at_idx IS 'for pruning the oldest rows and finding open ones';
REVOKE ALL ON pgleak.history FROM PUBLIC;
GRANT SELECT ON pgleak.history TO pg_monitor;

-- Views ------------------------------------------------------------------------------------------------------

CREATE VIEW pgleak.leaks AS
SELECT
    l.leak_id,
    l.pid,
    l.database,
    l.role,
    l.application_name,
    l.client_addr::pg_catalog.inet AS client_addr,
    l.client_port,
    l.backend_start,
    l.xact_start,
    l.state,
    l.idle_since,
    l.idle_for,
    l.transaction_age,
    l.clock,
    l.detected_at,
    l.leak_after,
    l.limit_source,
    NULL::pg_catalog.xid AS holds_xid,
    NULL::pg_catalog.xid AS holds_xmin,
    NULL::bigint AS xmin_age,
    NULL::integer AS locks,
    NULL::integer AS blocked,
    NULL::interval AS blocked_for,
    NULL::pg_catalog.text AS impact,
    l.next_action,
    l.next_action_at,
    l.last_action,
    l.last_action_at,
    l.last_action_result,
    l.query,
    l.query_id,
    NULL::pg_catalog.jsonb AS tags,
    NULL::pg_catalog.jsonb AS trail
FROM pgleak.read_leaks() l;
COMMENT ON VIEW pgleak.leaks IS 'sessions that leak now, read from shared memory; others'' rows are masked as in pg_stat_activity';
GRANT SELECT ON pgleak.leaks TO PUBLIC;

CREATE VIEW pgleak.top AS
SELECT
    l.pid,
    pg_catalog.left(l.role || '@' || l.database, 18) AS "role@database",
    pg_catalog.left(l.application_name, 16) AS application,
    CASE l.state
        WHEN 'idle in transaction' THEN 'idle'
        WHEN 'idle in transaction (aborted)' THEN 'aborted'
        ELSE pg_catalog.left(l.state, 8)
    END AS state,
    pg_catalog.to_char(pg_catalog.date_trunc('second', l.idle_for), 'HH24:MI:SS') AS idle_for,
    pg_catalog.to_char(pg_catalog.date_trunc('second', l.transaction_age), 'HH24:MI:SS') AS xact_age,
    pg_catalog.left(pg_catalog.btrim(pg_catalog.regexp_replace(l.query, '[[:space:][:cntrl:]]+', ' ', 'g')), 35)
        AS last_statement
FROM pgleak.leaks l
ORDER BY l.transaction_age DESC NULLS LAST, l.pid;
COMMENT ON VIEW pgleak.top IS 'pgleak.leaks for a terminal of 120 columns, worst first: \watch it';
GRANT SELECT ON pgleak.top TO PUBLIC;

CREATE VIEW pgleak.stats AS
SELECT
    s.scans,
    s.last_scan_at,
    s.last_scan_us,
    s.leaks,
    s.cancels,
    s.cancels_failed,
    s.terminates,
    s.escaped,
    s.events_queued,
    s.events_written,
    s.events_dropped,
    s.recorder_errors,
    s.last_error,
    s.last_error_at,
    s.started_at,
    s.is_recording
FROM pgleak.read_stats() s;
COMMENT ON VIEW pgleak.stats IS 'one row: what the scanner and the recorder have done since the server started or pgleak.reset()';
REVOKE ALL ON pgleak.stats FROM PUBLIC;
REVOKE ALL ON FUNCTION pgleak.read_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.read_stats() TO pg_monitor;
GRANT SELECT ON pgleak.stats TO pg_monitor;
