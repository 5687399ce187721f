-- Open leaks: the views over shared memory, and the manual actions.

CREATE FUNCTION pgleak.read_leaks(
    OUT leak_id bigint,
    OUT kind text,
    OUT pid integer,
    OUT gid text,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT client_addr text,
    OUT client_port integer,
    OUT backend_start timestamp with time zone,
    OUT xact_start timestamp with time zone,
    OUT prepared_at timestamp with time zone,
    OUT state text,
    OUT wait_event text,
    OUT idle_since timestamp with time zone,
    OUT idle_for interval,
    OUT transaction_age interval,
    OUT clock text,
    OUT detected_at timestamp with time zone,
    OUT leak_after interval,
    OUT limit_source text,
    OUT holds_xid xid,
    OUT holds_xmin xid,
    OUT xmin_age bigint,
    OUT locks integer,
    OUT blocked integer,
    OUT blocked_for interval,
    OUT impact text,
    OUT held jsonb,
    OUT waiting jsonb,
    OUT oldest_for interval,
    OUT retained_bytes bigint,
    OUT slot_name text,
    OUT notify_queue_usage double precision,
    OUT subxact_overflow boolean,
    OUT autovacuum_skipped boolean,
    OUT client_gone boolean,
    OUT next_action text,
    OUT next_action_at timestamp with time zone,
    OUT action_held_by text,
    OUT remedy text,
    OUT declared boolean,
    OUT last_action text,
    OUT last_action_at timestamp with time zone,
    OUT last_action_result text,
    OUT action_source text,
    OUT query text,
    OUT query_id bigint,
    OUT tags jsonb,
    OUT code text,
    OUT trail jsonb)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_leaks'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_leaks() IS 'open leaks as the scanner and their sessions show them now; use the view pgleak.leaks';

CREATE VIEW pgleak.leaks AS
SELECT
    l.leak_id,
    l.kind,
    l.pid,
    l.gid,
    l.database,
    l.role,
    l.application_name,
    l.client_addr::pg_catalog.inet AS client_addr,
    l.client_port,
    l.backend_start,
    l.xact_start,
    l.prepared_at,
    l.state,
    l.wait_event,
    l.idle_since,
    l.idle_for,
    l.transaction_age,
    l.clock,
    l.detected_at,
    l.leak_after,
    l.limit_source,
    l.holds_xid,
    l.holds_xmin,
    l.xmin_age,
    l.locks,
    l.blocked,
    l.blocked_for,
    l.impact,
    l.held,
    l.waiting,
    l.oldest_for,
    l.retained_bytes,
    l.slot_name,
    l.notify_queue_usage,
    l.subxact_overflow,
    l.autovacuum_skipped,
    l.client_gone,
    l.next_action,
    l.next_action_at,
    l.action_held_by,
    l.remedy,
    l.declared,
    l.last_action,
    l.last_action_at,
    l.last_action_result,
    l.action_source,
    l.query,
    l.query_id,
    l.tags,
    l.code,
    l.trail
FROM pgleak.read_leaks() l;
COMMENT ON VIEW pgleak.leaks IS 'sessions and prepared transactions that leak now, read from shared memory; those of other users are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.leaks.kind IS 'session, or prepared transaction: that has no session, so all columns about one are NULL';
COMMENT ON COLUMN pgleak.leaks.client_addr IS 'address of the client, NULL for a Unix socket; behind PgBouncer with application_name_add_host the address that application_name says, which nobody has verified: the log and pg_stat_activity have that of the connection';
COMMENT ON COLUMN pgleak.leaks.client_port IS 'port of the client, from the same place; -1 for a Unix socket';
COMMENT ON COLUMN pgleak.leaks.gid IS 'identifier of the prepared transaction; NULL while the recorder has not listed it';
COMMENT ON COLUMN pgleak.leaks.prepared_at IS 'when it was prepared; transaction_age counts from then';
COMMENT ON COLUMN pgleak.leaks.remedy IS 'what to type, in its database, to roll the prepared transaction back; nothing acts on one by itself';
COMMENT ON COLUMN pgleak.leaks.wait_event IS 'what the session waits for: wait_event of pg_stat_activity, after its type unless that is Client';
COMMENT ON COLUMN pgleak.leaks.held IS 'at most 8 of the locks that it holds, those with the most waiters first, then the strongest; before them the notification queue if it LISTENs; see doc/evidence.md';
COMMENT ON COLUMN pgleak.leaks.waiting IS 'at most 8 of those who waited behind it at its worst moment so far, the nearest first; NULL if nobody ever did';
COMMENT ON COLUMN pgleak.leaks.oldest_for IS 'for how long, as far as samples each second can tell, nothing older has held back VACUUM in its database (on a standby: in the server); NULL if something older does';
COMMENT ON COLUMN pgleak.leaks.retained_bytes IS 'most WAL that a logical replication slot has kept because this transaction is open, although the consumer of the slot has it already';
COMMENT ON COLUMN pgleak.leaks.slot_name IS 'the slot that keeps it';
COMMENT ON COLUMN pgleak.leaks.notify_queue_usage IS 'highest share of the notification queue in use (0 to 1) while it LISTENs and does not read; NULL if it does not LISTEN, or that is not known yet';
COMMENT ON COLUMN pgleak.leaks.subxact_overflow IS 'whether the transaction has had more than 64 subtransactions at a time, which makes the snapshots of all sessions slower; NULL until its first sample';
COMMENT ON COLUMN pgleak.leaks.autovacuum_skipped IS 'whether autovacuum probably skips a table because of it: a guess, from a lock on a table, SHARE UPDATE EXCLUSIVE or stronger, seen for longer than autovacuum_naptime; NULL if the lock is in another database than yours';
COMMENT ON COLUMN pgleak.leaks.declared IS 'whether the session says that it is idle on purpose, which keeps limits from acting: it has set idle_in_transaction_session_timeout to 0 itself, or exported a snapshot';
COMMENT ON COLUMN pgleak.leaks.tags IS 'tags of the newest statement of the transaction that has any, from its comments (sqlcommenter, marginalia) and from the setting pgleak.tags; "truncated": true if there were more or longer ones';
COMMENT ON COLUMN pgleak.leaks.code IS 'the place in the application''s source that these tags name, such as app/orders.py:42 get_orders';
COMMENT ON COLUMN pgleak.leaks.client_gone IS 'whether its client has closed the connection, as seen when pgleak last looked; NULL if it did not or cannot tell';
GRANT SELECT ON pgleak.leaks TO PUBLIC;

-- The server has no function for the width of a character on screen; any multibyte character counts as two columns.
CREATE FUNCTION pgleak.fit_text(value text, columns integer)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT string_agg(character, '' ORDER BY place)
    FROM (
        SELECT character, place,
            sum(CASE octet_length(character) WHEN 1 THEN 1 ELSE 2 END) OVER (ORDER BY place) AS width
        FROM regexp_split_to_table(
            left(btrim(regexp_replace(value, '[[:space:][:cntrl:]]+', ' ', 'g')), columns), '')
            WITH ORDINALITY AS split (character, place)
    ) AS measured
    WHERE width <= columns
$function$;
COMMENT ON FUNCTION pgleak.fit_text(text, integer) IS 'a text as one line that fits into the given number of terminal columns; used by pgleak.top';

CREATE FUNCTION pgleak.format_duration(value interval)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE
        WHEN s < 10 THEN trunc(s, 1) || 's'
        WHEN s < 60 THEN trunc(s) || 's'
        WHEN s < 3600 THEN div(s, 60) || 'm ' || div(mod(s, 60), 1) || 's'
        WHEN s < 86400 THEN div(s, 3600) || 'h ' || div(mod(s, 3600), 60) || 'm'
        ELSE div(s, 86400) || 'd ' || div(mod(s, 86400), 3600) || 'h'
    END
    FROM (SELECT greatest(extract(epoch FROM value), 0)) AS seconds (s)
$function$;
COMMENT ON FUNCTION pgleak.format_duration(interval) IS 'an interval in its two largest units, such as 2h 5m; used by pgleak.top';

CREATE FUNCTION pgleak.route_of(tags jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $function$
    SELECT coalesce(tags OPERATOR(pg_catalog.->>) 'route', (tags OPERATOR(pg_catalog.->>) 'controller')
        OPERATOR(pg_catalog.||) coalesce('#' OPERATOR(pg_catalog.||) (tags OPERATOR(pg_catalog.->>) 'action'), ''))
$function$;
COMMENT ON FUNCTION pgleak.route_of(jsonb) IS 'the code that the tags name: route, or else controller#action';

CREATE FUNCTION pgleak.short_code(code text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT regexp_replace(code, '^\S*[/\\](?=[^/\\\s]+(\s|$))', '')
$function$;
COMMENT ON FUNCTION pgleak.short_code(text) IS 'a place in the source without the directories of its file; used by pgleak.top';

CREATE FUNCTION pgleak.normalize_application_name(application_name text)
RETURNS text
AS 'MODULE_PATHNAME', 'pgleak_normalize_application_name'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION pgleak.normalize_application_name(text) IS 'the application that a name stands for: without the host and port that PgBouncer appends, without process IDs, UUIDs, suffixes of pods and other things that differ in each process; pools, offenders, metrics and the report group by it';

CREATE VIEW pgleak.top AS
SELECT
    l.pid,
    pgleak.fit_text(l.role || '@' || l.database, 16) AS "role@database",
    pgleak.fit_text(l.application_name, 14) AS application,
    CASE coalesce(l.state, l.kind)
        WHEN 'idle in transaction' THEN 'idle tx'
        WHEN 'prepared transaction' THEN 'prepared'
        WHEN 'idle in transaction (aborted)' THEN 'aborted'
        ELSE pg_catalog.left(l.state, 7)
    END AS state,
    pgleak.format_duration(l.idle_for) AS idle,
    pgleak.format_duration(l.transaction_age) AS age,
    l.blocked,
    l.next_action || CASE
        WHEN l.next_action_at > pg_catalog.clock_timestamp()
            THEN ' ' || pg_catalog.split_part(pgleak.format_duration(l.next_action_at - pg_catalog.clock_timestamp()), ' ', 1)
        ELSE ' now'
    END AS next,
    pgleak.fit_text(coalesce(pgleak.short_code(l.code), pgleak.route_of(l.tags), l.query, l.gid), 15) AS statement
FROM pgleak.leaks l
ORDER BY l.blocked DESC NULLS LAST, l.blocked_for DESC NULLS LAST, l.transaction_age DESC NULLS LAST, l.pid, l.leak_id;
COMMENT ON VIEW pgleak.top IS 'pgleak.leaks for a terminal of 120 columns, worst first; shows the code, or else the route, the statement, or the gid; made for \watch';
GRANT SELECT ON pgleak.top TO PUBLIC;

CREATE FUNCTION pgleak.scan()
RETURNS bigint
AS 'MODULE_PATHNAME', 'pgleak_request_scan'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.scan() IS 'makes the scanner scan now and returns the number of open leaks';
REVOKE ALL ON FUNCTION pgleak.scan() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.scan() TO pg_monitor;

-- Both check permissions themselves, by the rules of pg_cancel_backend and pg_terminate_backend.
CREATE FUNCTION pgleak.cancel(pid integer)
RETURNS boolean
AS 'MODULE_PATHNAME', 'pgleak_cancel_session'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.cancel(integer) IS 'rolls back the transaction of a session that is idle in it, without disconnecting the client; cancels the query of an active session';

CREATE FUNCTION pgleak.terminate(pid integer)
RETURNS boolean
AS 'MODULE_PATHNAME', 'pgleak_terminate_session'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.terminate(integer) IS 'ends the connection of a session, also one that is idle outside of a transaction, with a reason that its client can read';
