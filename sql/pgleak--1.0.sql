-- pgleak 1.0: the SQL objects. Every name is qualified: the caller may have any search_path.

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
    OUT holds_xid xid,
    OUT holds_xmin xid,
    OUT xmin_age bigint,
    OUT locks integer,
    OUT blocked integer,
    OUT blocked_for interval,
    OUT impact text,
    OUT next_action text,
    OUT next_action_at timestamp with time zone,
    OUT last_action text,
    OUT last_action_at timestamp with time zone,
    OUT last_action_result text,
    OUT query text,
    OUT query_id bigint,
    OUT tags jsonb,
    OUT trail jsonb)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_leaks'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.read_leaks() IS 'open leaks as the scanner and their sessions show them now; use the view pgleak.leaks';

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
COMMENT ON FUNCTION pgleak.read_pools() IS 'pools as of the scanner''s last look at them; use the view pgleak.pools';

CREATE FUNCTION pgleak.read_stats(
    OUT scans bigint,
    OUT last_scan_at timestamp with time zone,
    OUT last_scan_us bigint,
    OUT leaks bigint,
    OUT cancels bigint,
    OUT cancels_failed bigint,
    OUT terminates bigint,
    OUT skipped bigint,
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

CREATE FUNCTION pgleak.read_outcomes(
    OUT outcome text,
    OUT episodes bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_outcomes'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 6;
COMMENT ON FUNCTION pgleak.read_outcomes() IS 'episodes that have ended since the server started or pgleak.reset(), by outcome; use the view pgleak.metrics_outcomes';
REVOKE ALL ON FUNCTION pgleak.read_outcomes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.read_outcomes() TO pg_monitor;

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
COMMENT ON FUNCTION pgleak.reset() IS 'sets the counters of pgleak.stats to zero; history, open leaks and events that wait stay';
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
COMMENT ON COLUMN pgleak.history.limit_source IS 'where that limit came from: server, session (role, database or SET), a rule of pgleak.rules, or by hand';
COMMENT ON COLUMN pgleak.history.holds_xid IS 'the transaction id that it held';
COMMENT ON COLUMN pgleak.history.holds_xmin IS 'the snapshot that it held last, as the oldest transaction it kept VACUUM from cleaning up after';
COMMENT ON COLUMN pgleak.history.xmin_age IS 'at its highest: by how many transactions the older of xid and snapshot lagged behind';
COMMENT ON COLUMN pgleak.history.locks IS 'most locks held, without the one that every transaction has on itself';
COMMENT ON COLUMN pgleak.history.blocked IS 'most sessions that waited behind it at a time, directly or through others';
COMMENT ON COLUMN pgleak.history.blocked_for IS 'how long the longest of these waited';
COMMENT ON COLUMN pgleak.history.impact IS 'what it hurt at its worst: none, locks, horizon (VACUUM) or blocking';
COMMENT ON COLUMN pgleak.history.query IS 'the last statement at detection';
COMMENT ON COLUMN pgleak.history.query_id IS 'its query identifier, the same for all statements of one form';
COMMENT ON COLUMN pgleak.history.tags IS 'what the application wrote into comments at its start or end (sqlcommenter, marginalia); "truncated": true if the statement was cut and may have had more';
COMMENT ON COLUMN pgleak.history.last_action IS 'what pgleak did, or would have done in a dry run: cancel or terminate';
COMMENT ON COLUMN pgleak.history.last_action_at IS 'when';
COMMENT ON COLUMN pgleak.history.last_action_result IS 'what became of it: requested, done, dry run, skipped, not possible safely';
COMMENT ON COLUMN pgleak.history.trail IS 'the last statements of the transaction, oldest first: when each began, its query_id, its first 128 bytes; see pgleak.trail_size';
COMMENT ON COLUMN pgleak.history.ended_at IS 'when the transaction or its session ended; NULL while the leak is open';
COMMENT ON COLUMN pgleak.history.duration IS 'from detection to the end';
COMMENT ON COLUMN pgleak.history.outcome IS 'how it ended: committed, rolled back, prepared, disconnected, cancelled, terminated, server stopped; NULL while open and not cancelled';
COMMENT ON INDEX pgleak.history_ended_at_idx IS 'for pruning the oldest rows and finding open ones';
REVOKE ALL ON pgleak.history FROM PUBLIC;
GRANT SELECT ON pgleak.history TO pg_monitor;

-- Rules ------------------------------------------------------------------------------------------------------

-- The names of the CHECKs are what a person reads who breaks one.
CREATE TABLE pgleak.rules (
    id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    priority integer NOT NULL DEFAULT 100,
    database text,
    role text,
    application_name text,
    client_addr inet,
    min_impact text,
    idle_leak_after interval,
    idle_cancel_after interval,
    idle_terminate_after interval,
    transaction_leak_after interval,
    transaction_cancel_after interval,
    transaction_terminate_after interval,
    valid_until timestamp with time zone,
    enabled boolean NOT NULL DEFAULT true,
    note text,
    CONSTRAINT "database must be a name of 1 to 63 bytes; NULL is any"
        CHECK (pg_catalog.octet_length(database) BETWEEN 1 AND 63),
    CONSTRAINT "role must be a name of 1 to 63 bytes; NULL is any"
        CHECK (pg_catalog.octet_length(role) BETWEEN 1 AND 63),
    CONSTRAINT "application_name must be of 1 to 127 bytes; NULL is any"
        CHECK (pg_catalog.octet_length(application_name) BETWEEN 1 AND 127),
    CONSTRAINT "application_name must not end with a single backslash"
        CHECK ((pg_catalog.length(application_name)
                - pg_catalog.length(pg_catalog.rtrim(application_name, E'\\'))) % 2 = 0),
    CONSTRAINT "min_impact must be none, locks, horizon or blocking"
        CHECK (min_impact IN ('none', 'locks', 'horizon', 'blocking')),
    CONSTRAINT "idle_leak_after must be from 0 to 24 days"
        CHECK (idle_leak_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "idle_cancel_after must be from 0 to 24 days"
        CHECK (idle_cancel_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "idle_terminate_after must be from 0 to 24 days"
        CHECK (idle_terminate_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "transaction_leak_after must be from 0 to 24 days"
        CHECK (transaction_leak_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "transaction_cancel_after must be from 0 to 24 days"
        CHECK (transaction_cancel_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "transaction_terminate_after must be from 0 to 24 days"
        CHECK (transaction_terminate_after BETWEEN interval '0' AND interval '24 days'),
    CONSTRAINT "idle_cancel_after must not come before the leak"
        CHECK (idle_cancel_after >= idle_leak_after OR idle_cancel_after = interval '0'),
    CONSTRAINT "idle_terminate_after must not come before the leak"
        CHECK (idle_terminate_after >= idle_leak_after OR idle_terminate_after = interval '0'),
    CONSTRAINT "transaction_cancel_after must not come before the leak"
        CHECK (transaction_cancel_after >= transaction_leak_after OR transaction_cancel_after = interval '0'),
    CONSTRAINT "transaction_terminate_after must not come before the leak"
        CHECK (transaction_terminate_after >= transaction_leak_after OR transaction_terminate_after = interval '0')
);

COMMENT ON TABLE pgleak.rules IS 'rules: limits for some sessions; of the rules that match a session the first by priority and id decides';
COMMENT ON COLUMN pgleak.rules.id IS 'number of the rule, as in limit_source: rule 3';
COMMENT ON COLUMN pgleak.rules.priority IS 'the lowest is tried first; of equals the lowest id';
COMMENT ON COLUMN pgleak.rules.database IS 'name of the session''s database; NULL is any';
COMMENT ON COLUMN pgleak.rules.role IS 'role of the login, or one that it is a member of; NULL is any';
COMMENT ON COLUMN pgleak.rules.application_name IS 'pattern as for LIKE; NULL is any';
COMMENT ON COLUMN pgleak.rules.client_addr IS 'address or network that the client''s address lies in; NULL is any, and the only match for unix sockets';
COMMENT ON COLUMN pgleak.rules.min_impact IS 'the rule counts only while the session''s impact is at least this: none, locks, horizon or blocking';
COMMENT ON COLUMN pgleak.rules.idle_leak_after IS 'idle in a transaction this long is a leak; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.idle_cancel_after IS 'idle in a transaction this long is cancelled; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.idle_terminate_after IS 'idle in a transaction this long has its connection terminated; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.transaction_leak_after IS 'a transaction this old is a leak; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.transaction_cancel_after IS 'a transaction this old is cancelled; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.transaction_terminate_after IS 'a transaction this old has its connection terminated; 0: never, NULL: as the server has it';
COMMENT ON COLUMN pgleak.rules.valid_until IS 'when the rule ends by itself; NULL is never';
COMMENT ON COLUMN pgleak.rules.enabled IS 'false: the rule is kept and does not count';
COMMENT ON COLUMN pgleak.rules.note IS 'why; for people';
COMMENT ON SEQUENCE pgleak.rules_id_seq IS 'numbers of rules';
REVOKE ALL ON pgleak.rules FROM PUBLIC;
GRANT SELECT ON pgleak.rules TO pg_monitor;

CREATE FUNCTION pgleak.note_rule_change()
RETURNS trigger
AS 'MODULE_PATHNAME', 'pgleak_note_rule_change'
LANGUAGE C;
COMMENT ON FUNCTION pgleak.note_rule_change() IS 'trigger of pgleak.rules: refuses more rules than there is room for, and puts a change into force at its commit';
REVOKE ALL ON FUNCTION pgleak.note_rule_change() FROM PUBLIC;
CREATE TRIGGER rules_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgleak.rules
    FOR EACH STATEMENT EXECUTE FUNCTION pgleak.note_rule_change();
COMMENT ON TRIGGER rules_change ON pgleak.rules IS 'puts a change into force at its commit';

-- The rules are the user's own; the history is not.
SELECT pg_catalog.pg_extension_config_dump('pgleak.rules', '');
SELECT pg_catalog.pg_extension_config_dump('pgleak.rules_id_seq', '');

-- Its permissions are checked inside: those of pg_stat_activity.
CREATE FUNCTION pgleak.limits_for(
    pid integer,
    OUT setting text,
    OUT value interval,
    OUT source text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_limits_for'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 6;
COMMENT ON FUNCTION pgleak.limits_for(integer) IS 'the limits of a session and where each comes from: session, a rule of pgleak.rules, or server; 0 is never';

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
    l.holds_xid,
    l.holds_xmin,
    l.xmin_age,
    l.locks,
    l.blocked,
    l.blocked_for,
    l.impact,
    l.next_action,
    l.next_action_at,
    l.last_action,
    l.last_action_at,
    l.last_action_result,
    l.query,
    l.query_id,
    l.tags,
    l.trail
FROM pgleak.read_leaks() l;
COMMENT ON VIEW pgleak.leaks IS 'sessions that leak now, read from shared memory; others'' rows are masked as in pg_stat_activity';
GRANT SELECT ON pgleak.leaks TO PUBLIC;

-- No server function knows how wide a character is on a screen: one of more than one byte is taken for two columns.
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
COMMENT ON FUNCTION pgleak.fit_text(text, integer) IS 'a text as one line that is at most this many terminal columns wide; used by pgleak.top';

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
COMMENT ON FUNCTION pgleak.format_duration(interval) IS 'an interval for people, in its two largest units; used by pgleak.top and pgleak.report';

CREATE FUNCTION pgleak.route_of(tags jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $function$
    SELECT coalesce(tags OPERATOR(pg_catalog.->>) 'route', (tags OPERATOR(pg_catalog.->>) 'controller')
        OPERATOR(pg_catalog.||) coalesce('#' OPERATOR(pg_catalog.||) (tags OPERATOR(pg_catalog.->>) 'action'), ''))
$function$;
COMMENT ON FUNCTION pgleak.route_of(jsonb) IS 'which code of the application: the tag route, else controller and action';

CREATE VIEW pgleak.top AS
SELECT
    l.pid,
    pgleak.fit_text(l.role || '@' || l.database, 16) AS "role@database",
    pgleak.fit_text(l.application_name, 14) AS application,
    CASE l.state
        WHEN 'idle in transaction' THEN 'idle'
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
    pgleak.fit_text(coalesce(pgleak.route_of(l.tags), l.query), 15) AS statement
FROM pgleak.leaks l
ORDER BY l.blocked DESC NULLS LAST, l.blocked_for DESC NULLS LAST, l.transaction_age DESC NULLS LAST, l.pid;
COMMENT ON VIEW pgleak.top IS 'pgleak.leaks for a terminal of 120 columns, worst first, with the route or else the statement: \watch it';
GRANT SELECT ON pgleak.top TO PUBLIC;

CREATE VIEW pgleak.offenders AS
WITH episode AS (
    -- What is still open goes on: there pgleak.leaks knows more than the row that was written at its detection.
    SELECT
        h.database,
        h.role,
        h.application_name,
        pgleak.route_of(h.tags) AS route,
        h.query_id,
        coalesce(h.outcome, 'open') AS outcome,
        greatest(h.idle_for, l.idle_for) AS idle_for,
        greatest(h.blocked, l.blocked) AS blocked,
        greatest(h.blocked_for, l.blocked_for) AS blocked_for,
        h.detected_at AS first_seen,
        coalesce(h.ended_at, CASE WHEN l.pid IS NULL THEN h.detected_at ELSE pg_catalog.now() END) AS last_seen,
        -- Compared from left to right, so that the greatest is the newest.
        ARRAY[(EXTRACT(epoch FROM h.detected_at) * 1000000)::bigint, h.system_identifier, h.leak_id] AS row_id
    FROM pgleak.history h
    LEFT JOIN pgleak.leaks l
        ON h.ended_at IS NULL AND l.leak_id = h.leak_id AND l.pid = h.pid AND l.backend_start = h.backend_start
), outcome AS (
    SELECT
        e.database,
        e.role,
        e.application_name,
        e.route,
        e.query_id,
        e.outcome,
        pg_catalog.count(*) AS episodes,
        pg_catalog.sum(e.idle_for) AS total_idle,
        pg_catalog.max(e.idle_for) AS longest_idle,
        pg_catalog.sum(e.blocked) AS blocked,
        pg_catalog.max(e.blocked) AS peak_blocked,
        pg_catalog.sum(e.blocked_for) AS blocked_for,
        pg_catalog.min(e.first_seen) AS first_seen,
        pg_catalog.max(e.last_seen) AS last_seen,
        pg_catalog.max(e.row_id) AS newest
    FROM episode e
    GROUP BY e.database, e.role, e.application_name, e.route, e.query_id, e.outcome
), offender AS (
    SELECT
        o.database,
        o.role,
        o.application_name,
        o.route,
        o.query_id,
        pg_catalog.sum(o.episodes)::bigint AS episodes,
        coalesce(pg_catalog.sum(o.total_idle), '0') AS total_idle,
        coalesce(pg_catalog.max(o.longest_idle), '0') AS longest_idle,
        coalesce(pg_catalog.sum(o.blocked), 0)::bigint AS blocked,
        coalesce(pg_catalog.max(o.peak_blocked), 0) AS peak_blocked,
        coalesce(pg_catalog.sum(o.blocked_for), '0') AS blocked_for,
        pg_catalog.jsonb_object_agg(o.outcome, o.episodes) AS outcomes,
        pg_catalog.min(o.first_seen) AS first_seen,
        pg_catalog.max(o.last_seen) AS last_seen,
        pg_catalog.max(o.newest) AS newest
    FROM outcome o
    GROUP BY o.database, o.role, o.application_name, o.route, o.query_id
)
SELECT
    o.database,
    o.role,
    o.application_name,
    o.route,
    o.query_id,
    o.episodes,
    o.total_idle,
    o.longest_idle,
    o.blocked,
    o.peak_blocked,
    o.blocked_for,
    o.outcomes,
    o.first_seen,
    o.last_seen,
    s.query,
    s.tags
FROM offender o
JOIN pgleak.history s ON s.system_identifier = o.newest[2] AND s.leak_id = o.newest[3]
ORDER BY o.blocked_for DESC, o.total_idle DESC, o.episodes DESC;
COMMENT ON VIEW pgleak.offenders IS 'whom to talk to first: the episodes of pgleak.history by the code that leaked, the most harmful first';
COMMENT ON COLUMN pgleak.offenders.database IS 'database of the sessions';
COMMENT ON COLUMN pgleak.offenders.role IS 'role of the sessions';
COMMENT ON COLUMN pgleak.offenders.application_name IS 'application_name of the sessions';
COMMENT ON COLUMN pgleak.offenders.route IS 'the tag route of the last statement or, failing that, controller#action; NULL if it has neither';
COMMENT ON COLUMN pgleak.offenders.query_id IS 'query identifier of the last statement, the same for all statements of one form';
COMMENT ON COLUMN pgleak.offenders.episodes IS 'how many leaks, open ones included';
COMMENT ON COLUMN pgleak.offenders.total_idle IS 'sum of the longest time that each was idle between two statements';
COMMENT ON COLUMN pgleak.offenders.longest_idle IS 'the longest of these times';
COMMENT ON COLUMN pgleak.offenders.blocked IS 'sum of the most sessions that waited behind each';
COMMENT ON COLUMN pgleak.offenders.peak_blocked IS 'the most sessions that waited behind one';
COMMENT ON COLUMN pgleak.offenders.blocked_for IS 'sum of the longest time that a session waited behind each';
COMMENT ON COLUMN pgleak.offenders.outcomes IS 'how many episodes ended how; "open" for those that go on';
COMMENT ON COLUMN pgleak.offenders.first_seen IS 'when the first was detected';
COMMENT ON COLUMN pgleak.offenders.last_seen IS 'when the last one ended; now, if one leaks now';
COMMENT ON COLUMN pgleak.offenders.query IS 'a sample: the last statement of the newest episode, at its detection';
COMMENT ON COLUMN pgleak.offenders.tags IS 'the tags of that statement';
REVOKE ALL ON pgleak.offenders FROM PUBLIC;
GRANT SELECT ON pgleak.offenders TO pg_monitor;

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
COMMENT ON VIEW pgleak.pools IS 'is a pool leaking or just too small: one row for the sessions that share database, role, application_name and client_addr, and one for the whole server; read from shared memory, others'' rows are masked as in pg_stat_activity';
COMMENT ON COLUMN pgleak.pools.database IS 'NULL in the rows of other scope than pool, as are role and application_name';
COMMENT ON COLUMN pgleak.pools.client_addr IS 'address of the client; NULL for a unix socket';
COMMENT ON COLUMN pgleak.pools.connections IS 'sessions';
COMMENT ON COLUMN pgleak.pools.idle IS 'of these outside of any transaction: free, as far as the server can see';
COMMENT ON COLUMN pgleak.pools.leaked IS 'of these with an open leak';
COMMENT ON COLUMN pgleak.pools.peak IS 'most connections seen at once in the last 24 hours, or since the application was restarted';
COMMENT ON COLUMN pgleak.pools.capacity IS 'the CONNECTION LIMIT of the role or the database if it has one, else peak; of the server max_connections minus those reserved';
COMMENT ON COLUMN pgleak.pools.in_use_percent IS 'share of the capacity that is active or idle in a transaction, together with others under the same limit; of the server all connections count';
COMMENT ON COLUMN pgleak.pools.busy_since IS 'since when this share has been pgleak.pool_busy_percent or more; NULL if it is not';
COMMENT ON COLUMN pgleak.pools.leaks_per_hour IS 'leaks that began minus leaks that ended, per hour';
COMMENT ON COLUMN pgleak.pools.exhausted_at IS 'when nothing will be free at that rate, or since when nothing is; NULL if that is not in sight';
COMMENT ON COLUMN pgleak.pools.verdict IS 'ok; leak: something leaks and there is room left; leaking: leaks hold a quarter of what is in use, or the pool is busy too; undersized: busy for pgleak.pool_busy_after and leaks do not explain it';
COMMENT ON COLUMN pgleak.pools.advice IS 'what to do, in one sentence; NULL if nothing';
COMMENT ON COLUMN pgleak.pools.suspects IS 'idle sessions that their pool went on without: perhaps checked out and forgotten outside of a transaction; a guess';
COMMENT ON COLUMN pgleak.pools.oldest_suspect_idle IS 'how long the first of them has been idle';
COMMENT ON COLUMN pgleak.pools.scope IS 'pool; server: all sessions; other: sessions of pools beyond the 256 that are told apart';
GRANT SELECT ON pgleak.pools TO PUBLIC;

CREATE VIEW pgleak.stats AS
SELECT
    s.scans,
    s.last_scan_at,
    s.last_scan_us,
    s.leaks,
    s.cancels,
    s.cancels_failed,
    s.terminates,
    s.skipped,
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

-- Report -----------------------------------------------------------------------------------------------------

-- Everything that comes from a session goes through here on its way into the page.
CREATE FUNCTION pgleak.report_escape(value text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT regexp_replace(
        replace(replace(replace(replace(replace(value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'),
            '''', '&#39;'),
        '[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]', '?', 'g')
$function$;
COMMENT ON FUNCTION pgleak.report_escape(text) IS 'a text as it may stand in HTML; used by pgleak.report';

CREATE FUNCTION pgleak.report_time(value timestamp with time zone)
RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT to_char(value, 'YYYY-MM-DD HH24:MI:SS"&#160;UTC"OF')
$function$;
COMMENT ON FUNCTION pgleak.report_time(timestamp with time zone) IS 'a time with its zone, as HTML; used by pgleak.report';

CREATE FUNCTION pgleak.report_style()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT $css$
:root { color-scheme: light dark; --page: #fff; --text: #1d232a; --soft: #5c6773; --line: #d8dee4; --box: #f5f7f9;
  --open: #b35900; --committed: #1a7f4b; --rolled-back: #3b74b8; --prepared: #6b8e23; --disconnected: #8a949e;
  --cancelled: #8250c4; --terminated: #c2274b; --server-stopped: #4b535c; --blocked: #000; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161b; --text: #e4e9ee; --soft: #9aa6b2; --line: #313a44; --box: #1b2129;
    --open: #f0a04b; --committed: #4cc38a; --rolled-back: #6ea8e8; --prepared: #a5c25c; --disconnected: #7c8894;
    --cancelled: #b891f0; --terminated: #f2637f; --server-stopped: #a9b3bd; --blocked: #fff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 24px 20px 60px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 10px; }
p { margin: 6px 0; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tile { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 22px; line-height: 1.4; white-space: nowrap; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 8px 0 14px; font-size: 13px; }
.legend svg { width: 14px; height: 12px; margin-right: 5px; vertical-align: -1px; }
.lane { display: grid; grid-template-columns: 190px 1fr; border-top: 1px solid var(--line); }
.lane > div { padding: 6px 10px 6px 0; overflow-wrap: anywhere; line-height: 1.3; }
.lane > div span { display: block; font-size: 12px; } .lane rect { shape-rendering: crispEdges; }
.lane svg { display: block; width: 100%; align-self: center; }
.axis { margin-left: 190px; border-top: 1px solid var(--line); position: relative; height: 24px; font-size: 12px;
  color: var(--soft); }
.axis span { position: absolute; top: 4px; transform: translateX(-50%); white-space: nowrap; }
.grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.open { fill: var(--open); } .committed { fill: var(--committed); } .rolled-back { fill: var(--rolled-back); }
.prepared { fill: var(--prepared); } .disconnected { fill: var(--disconnected); }
.cancelled { fill: var(--cancelled); } .terminated { fill: var(--terminated); }
.server-stopped { fill: var(--server-stopped); } .blocked { fill: var(--blocked); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; font-size: 13px; color: var(--soft); }
th, td { padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.time { overflow-wrap: normal; font-variant-numeric: tabular-nums; }
code { font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
td code { display: block; margin-top: 2px; color: var(--soft); }
.verdict { white-space: nowrap; font-weight: 600; }
.verdict.leaking, .verdict.leak { color: var(--terminated); } .verdict.undersized { color: var(--open); }
.verdict.ok { color: var(--committed); }
@media (max-width: 640px) {
  body { padding: 16px 14px 40px; }
  .lane { grid-template-columns: 1fr; padding-bottom: 8px; } .axis { margin-left: 0; }
  .lane > div { padding-bottom: 3px; } .lane > div span { display: inline; margin-left: 6px; }
  .axis span:nth-child(even) { display: none; }
  thead { display: none; } tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); }
  td { display: flex; justify-content: space-between; gap: 16px; padding: 2px 0; border: 0; text-align: right; }
  td::before { content: attr(data-label); color: var(--soft); font-size: 13px; flex: none; }
  td.wide { display: block; text-align: left; } td.wide::before { display: block; }
}
$css$
$function$;
COMMENT ON FUNCTION pgleak.report_style() IS 'the style sheet of pgleak.report';

-- A lane of up to 120 episodes in up to 24 rows shows each as a bar; a fuller one shows how many were open in each
-- of 120 spans of time.
CREATE FUNCTION pgleak.report_lane(
    name text, applications text[], since timestamp with time zone, upto timestamp with time zone, grid text)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    most_bars CONSTANT integer := 120;
    most_rows CONSTANT integer := 24;
    spans CONSTANT integer := 120;
    tallest CONSTANT numeric := 60;
    period CONSTANT double precision := extract(epoch FROM upto - since);
    row_ends double precision[] := '{}';
    bars text := '';
    bar record;
    lane_row integer;
    episode_count integer;
    open_count integer;
    peak integer := 0;
    head text;
BEGIN
    SELECT count(*), count(*) FILTER (WHERE h.ended_at IS NULL) INTO episode_count, open_count
    FROM pgleak.history h
    WHERE h.application_name = ANY (applications) AND h.detected_at < upto
        AND (h.ended_at >= since OR h.ended_at IS NULL);
    head := format('<div class="lane"><div>%s<span class="soft">%s%s', name,
        episode_count || CASE episode_count WHEN 1 THEN ' episode' ELSE ' episodes' END,
        CASE WHEN open_count > 0 THEN ', ' || open_count || ' open' END);

    IF episode_count <= most_bars THEN
        FOR bar IN
            SELECT
                -- The shortest bars are as wide as can be seen, and what has just begun is not beyond the edge.
                least(1000 * extract(epoch FROM greatest(e.began, since) - since) / period, 1000 - 3) AS x,
                greatest(1000 * extract(epoch FROM e.finished - greatest(e.began, since)) / period, 3) AS width,
                1000 * extract(epoch FROM e.blocked_for) / period AS blocked_width,
                e.*
            FROM (
                SELECT
                    coalesce(h.idle_since, h.xact_start, h.detected_at) AS began,
                    coalesce(h.ended_at, upto) AS finished,
                    coalesce(h.outcome, 'open') AS outcome,
                    h.leak_id, h.pid, h.role, h.database, h.detected_at, h.blocked, h.blocked_for,
                    pgleak.route_of(h.tags) AS route
                FROM pgleak.history h
                WHERE h.application_name = ANY (applications) AND h.detected_at < upto
                    AND (h.ended_at >= since OR h.ended_at IS NULL)
            ) AS e
            ORDER BY e.began, e.leak_id
        LOOP
            lane_row := 1;
            WHILE lane_row <= cardinality(row_ends) AND row_ends[lane_row] > bar.x LOOP
                lane_row := lane_row + 1;
            END LOOP;
            EXIT WHEN lane_row > most_rows;
            row_ends[lane_row] := bar.x + bar.width + 2;
            bars := bars || format(
                '<g><title>%s</title><rect class="%s" x="%s" y="%s" width="%s" height="9"/>%s</g>',
                concat_ws(', ', 'leak ' || bar.leak_id, 'pid ' || bar.pid,
                    pgleak.report_escape(bar.role || '@' || bar.database), pgleak.report_escape(bar.route), bar.outcome,
                    'detected ' || pgleak.report_time(bar.detected_at),
                    'lasted ' || pgleak.format_duration(bar.finished - bar.began),
                    CASE WHEN bar.blocked > 0 THEN 'blocked ' || bar.blocked || ' sessions' END),
                replace(bar.outcome, ' ', '-'), round(bar.x::numeric, 1), (lane_row - 1) * 12 + 2,
                round(bar.width::numeric, 1),
                CASE WHEN bar.blocked_width > 0 THEN format(
                    '<rect class="blocked" x="%s" y="%s" width="%s" height="3"/>',
                    round((bar.x + bar.width - least(bar.blocked_width, bar.width))::numeric, 1),
                    (lane_row - 1) * 12 + 8, round(least(bar.blocked_width, bar.width)::numeric, 1)) END);
        END LOOP;
        IF cardinality(row_ends) <= most_rows AND (lane_row IS NULL OR lane_row <= most_rows) THEN
            RETURN head || format('</span></div><svg viewBox="0 0 1000 %1$s" height="%1$s" preserveAspectRatio="none">'
                '%2$s%3$s</svg></div>', greatest(cardinality(row_ends), 1) * 12 + 2, grid, bars);
        END IF;
    END IF;

    bars := '';
    FOR bar IN
        WITH spanned AS (
            SELECT
                coalesce(h.outcome, 'open') AS outcome,
                width_bucket(extract(epoch FROM greatest(coalesce(h.idle_since, h.xact_start, h.detected_at), since)
                    - since)::double precision, 0, period, spans) AS first,
                least(width_bucket(extract(epoch FROM coalesce(h.ended_at, upto) - since)::double precision,
                    0, period, spans), spans) AS last
            FROM pgleak.history h
            WHERE h.application_name = ANY (applications) AND h.detected_at < upto
                AND (h.ended_at >= since OR h.ended_at IS NULL)
        ), counted AS (
            SELECT span, outcome, count(*) AS episodes
            FROM spanned, generate_series(least(first, last), last) AS span
            GROUP BY span, outcome
        )
        SELECT span, outcome, episodes,
            max(total) OVER () AS highest,
            sum(episodes) OVER (PARTITION BY span ORDER BY outcome) AS upper
        FROM (SELECT *, sum(episodes) OVER (PARTITION BY span) AS total FROM counted) AS c
    LOOP
        peak := bar.highest;
        bars := bars || format(
            '<g><title>%s open, %s</title><rect class="%s" x="%s" y="%s" width="%s" height="%s"/></g>',
            bar.episodes, bar.outcome, replace(bar.outcome, ' ', '-'),
            round((bar.span - 1) * 1000.0 / spans, 1),
            round(tallest * (1 - bar.upper / bar.highest) + 2, 1), round(1000.0 / spans, 1),
            round(tallest * bar.episodes / bar.highest, 1));
    END LOOP;
    RETURN head || format(', at most %s at a time</span></div><svg viewBox="0 0 1000 %2$s" height="%2$s" '
        'preserveAspectRatio="none">%3$s%4$s</svg></div>', peak, tallest + 4, grid, bars);
END
$function$;
COMMENT ON FUNCTION pgleak.report_lane(text, text[], timestamp with time zone, timestamp with time zone, text) IS 'the episodes of some applications as one lane of the timeline of pgleak.report';

CREATE FUNCTION pgleak.report_timeline(since timestamp with time zone, upto timestamp with time zone)
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    most_lanes CONSTANT integer := 12;
    period CONSTANT interval := upto - since;
    step interval;
    grid text := '';
    axis text := '';
    lanes text := '';
    lane record;
    tick record;
BEGIN
    -- The shortest distance that makes at most eight ticks.
    SELECT s INTO step
    FROM unnest(ARRAY[interval '1 second', '5 seconds', '15 seconds', '1 minute', '5 minutes', '15 minutes', '1 hour',
        '3 hours', '6 hours', '12 hours', '1 day', '2 days', '7 days', '28 days', '91 days', '364 days']) AS s
    WHERE extract(epoch FROM period) / extract(epoch FROM s) <= 8
    ORDER BY s LIMIT 1;
    step := coalesce(step, period / 8);

    FOR tick IN
        SELECT 100 * extract(epoch FROM t - since) / extract(epoch FROM period) AS percent,
            CASE
                WHEN step >= interval '1 day' THEN to_char(t, 'Mon DD')
                WHEN step < interval '1 minute' THEN to_char(t, 'HH24:MI:SS')
                WHEN t = date_trunc('day', t) THEN to_char(t, 'Mon DD')
                ELSE to_char(t, 'HH24:MI')
            END AS label
        FROM generate_series(date_bin(step, since, date_trunc('day', since)), upto, step) AS t
        WHERE t > since
    LOOP
        grid := grid || format('<line class="grid" x1="%1$s" x2="%1$s" y1="0" y2="400"/>',
            round((tick.percent * 10)::numeric, 1));
        IF tick.percent BETWEEN 3 AND 97 THEN
            axis := axis || format('<span style="left:%s%%">%s</span>', round(tick.percent::numeric, 2), tick.label);
        END IF;
    END LOOP;

    FOR lane IN
        WITH found AS (
            SELECT h.application_name, row_number() OVER (ORDER BY count(*) DESC, h.application_name) AS place
            FROM pgleak.history h
            WHERE h.detected_at < upto AND (h.ended_at >= since OR h.ended_at IS NULL)
            GROUP BY h.application_name
        )
        SELECT array_agg(application_name) AS applications
        FROM found GROUP BY least(place, most_lanes) ORDER BY least(place, most_lanes)
    LOOP
        lanes := lanes || pgleak.report_lane(
            CASE
                WHEN cardinality(lane.applications) > 1 THEN cardinality(lane.applications) || ' other applications'
                WHEN lane.applications[1] = '' THEN '(no application_name)'
                ELSE pgleak.report_escape(lane.applications[1])
            END,
            lane.applications, since, upto, grid);
    END LOOP;
    RETURN lanes || '<div class="axis" aria-hidden="true">' || axis || '</div>';
END
$function$;
COMMENT ON FUNCTION pgleak.report_timeline(timestamp with time zone, timestamp with time zone) IS 'the timeline of pgleak.report: a lane for each application';

CREATE FUNCTION pgleak.report_legend()
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT '<div class="legend">' || string_agg(
        format('<span><svg viewBox="0 0 14 12" aria-hidden="true"><rect class="%s" y="%s" width="14" height="%s"/></svg>%s</span>',
            replace(outcome, ' ', '-'), CASE outcome WHEN 'blocked' THEN 5 ELSE 1 END,
            CASE outcome WHEN 'blocked' THEN 3 ELSE 10 END,
            CASE outcome WHEN 'blocked' THEN 'others waited for it' ELSE outcome END), '' ORDER BY place) || '</div>'
    FROM unnest(ARRAY['open', 'committed', 'rolled back', 'prepared', 'disconnected', 'cancelled', 'terminated',
        'server stopped', 'blocked']) WITH ORDINALITY AS o (outcome, place)
$function$;
COMMENT ON FUNCTION pgleak.report_legend() IS 'the legend of the timeline of pgleak.report';

CREATE FUNCTION pgleak.report_cell(label text, value text, class text DEFAULT '')
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
    -- The label stands before the value where the screen is too narrow for a head.
    SELECT format('<td data-label="%s"%s><div>%s</div></td>', label,
        CASE WHEN class <> '' THEN ' class="' || class || '"' ELSE '' END, coalesce(value, ''))
$function$;
COMMENT ON FUNCTION pgleak.report_cell(text, text, text) IS 'one cell of a table of pgleak.report; the value is HTML';

CREATE FUNCTION pgleak.report_offenders(since timestamp with time zone)
RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH grouped AS (
        SELECT h.application_name, h.role, h.database, pgleak.route_of(h.tags) AS route, h.query_id,
            count(*) AS episodes, max(h.idle_for) AS longest, sum(h.idle_for) AS total,
            max(h.blocked) AS blocked, sum(h.blocked_for) AS blocked_for, max(h.detected_at) AS last_seen,
            (array_agg(h.query ORDER BY h.detected_at DESC))[1] AS query
        FROM pgleak.history h
        WHERE h.ended_at >= since OR h.ended_at IS NULL
        GROUP BY h.application_name, h.role, h.database, pgleak.route_of(h.tags), h.query_id
        ORDER BY sum(h.blocked_for) DESC NULLS LAST, sum(h.idle_for) DESC NULLS LAST
        LIMIT 20
    )
    SELECT coalesce('<table><thead><tr><th>Who</th><th>Route and last statement</th><th class="number">Episodes</th>'
        '<th class="number">Longest idle</th><th class="number">Blocked</th><th class="number">Others waited</th>'
        '<th>Last seen</th></tr></thead><tbody>'
        || string_agg('<tr>'
            || pgleak.report_cell('Who', pgleak.report_escape(coalesce(nullif(application_name, ''), '(no application_name)'))
                || '<br><span class="soft">' || pgleak.report_escape(role || '@' || database) || '</span>')
            || pgleak.report_cell('Route and last statement', coalesce('<b>' || pgleak.report_escape(route) || '</b>', '')
                || coalesce('<code>' || pgleak.report_escape(left(query, 200)) || '</code>', ''), 'wide')
            || pgleak.report_cell('Episodes', episodes::text, 'number')
            || pgleak.report_cell('Longest idle', coalesce(pgleak.format_duration(longest), '-'), 'number')
            || pgleak.report_cell('Blocked', coalesce(blocked, 0)::text, 'number')
            || pgleak.report_cell('Others waited', coalesce(pgleak.format_duration(nullif(blocked_for, interval '0')), '-'), 'number')
            || pgleak.report_cell('Last seen', pgleak.report_time(last_seen), 'time')
            || '</tr>', '' ORDER BY blocked_for DESC NULLS LAST, total DESC NULLS LAST)
        || '</tbody></table>', '<p class="soft">No session leaked.</p>')
    FROM grouped
$function$;
COMMENT ON FUNCTION pgleak.report_offenders(timestamp with time zone) IS 'who leaked, the most harmful first; used by pgleak.report';

-- The pools as they are now, those in trouble first, and of the others the fullest.
CREATE FUNCTION pgleak.report_pools()
RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH shown AS (
        SELECT *, coalesce(verdict <> 'ok', false) AS is_in_trouble
        FROM pgleak.pools
        WHERE connections > 0
        ORDER BY coalesce(verdict <> 'ok', false) DESC, leaked DESC, in_use_percent DESC NULLS LAST, connections DESC
        LIMIT 20
    )
    SELECT coalesce('<table><thead><tr><th>Pool</th><th class="number">Connections</th><th class="number">In use</th>'
        '<th class="number">Leaked</th><th class="number">Capacity</th><th>Verdict</th><th>Advice</th></tr></thead><tbody>'
        || string_agg('<tr>'
            || pgleak.report_cell('Pool', CASE scope
                WHEN 'server' THEN '<b>the whole server</b>'
                WHEN 'other' THEN 'all further pools'
                ELSE pgleak.report_escape(coalesce(nullif(application_name, ''), '(no application_name)'))
                    || '<br><span class="soft">'
                    || pgleak.report_escape(concat_ws(', ', role || '@' || database, host(client_addr))) || '</span>'
                END)
            || pgleak.report_cell('Connections', connections::text, 'number')
            || pgleak.report_cell('In use', coalesce(in_use_percent || ' %', '-'), 'number')
            || pgleak.report_cell('Leaked', leaked::text, 'number')
            || pgleak.report_cell('Capacity', coalesce(capacity::text, '-'), 'number')
            || pgleak.report_cell('Verdict', '<span class="verdict ' || coalesce(verdict, '') || '">' || coalesce(verdict, '-') || '</span>')
            || pgleak.report_cell('Advice', pgleak.report_escape(advice), 'wide')
            || '</tr>', '' ORDER BY scope = 'server' DESC, is_in_trouble DESC, leaked DESC, in_use_percent DESC NULLS LAST, connections DESC)
        || '</tbody></table>', '<p class="soft">Nobody is connected.</p>')
    FROM shown
$function$;
COMMENT ON FUNCTION pgleak.report_pools() IS 'the pools with their verdicts; used by pgleak.report';

CREATE FUNCTION pgleak.report_actions(since timestamp with time zone)
RETURNS text
LANGUAGE sql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH acted AS (
        SELECT h.* FROM pgleak.history h
        WHERE h.last_action IS NOT NULL AND h.last_action_at >= since
    ), recent AS (
        SELECT * FROM acted ORDER BY last_action_at DESC LIMIT 20
    )
    SELECT CASE WHEN EXISTS (SELECT FROM acted) THEN
        '<p>' || (SELECT string_agg(n || ' &times; ' || what, ', ' ORDER BY n DESC)
            FROM (SELECT count(*) AS n, last_action || ': ' || last_action_result AS what FROM acted GROUP BY 2) AS c)
        || '.</p><table><thead><tr><th>When</th><th>Action</th><th>Who</th><th>Last statement</th></tr></thead><tbody>'
        || (SELECT string_agg('<tr>'
            || pgleak.report_cell('When', pgleak.report_time(last_action_at), 'time')
            || pgleak.report_cell('Action', last_action || ': ' || last_action_result)
            || pgleak.report_cell('Who', pgleak.report_escape(coalesce(nullif(application_name, ''), '(no application_name)'))
                || '<br><span class="soft">' || pgleak.report_escape(role || '@' || database) || ', pid ' || pid || '</span>')
            || pgleak.report_cell('Last statement', coalesce('<code>' || pgleak.report_escape(left(query, 200)) || '</code>', ''), 'wide')
            || '</tr>', '' ORDER BY last_action_at DESC) FROM recent)
        || '</tbody></table>'
    ELSE '<p class="soft">Nothing: pgleak only watched.</p>' END
$function$;
COMMENT ON FUNCTION pgleak.report_actions(timestamp with time zone) IS 'what pgleak did about leaks; used by pgleak.report';

CREATE FUNCTION pgleak.report(since interval DEFAULT '1 day')
RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    upto CONSTANT timestamp with time zone := now();
    began timestamp with time zone;
    s record;
BEGIN
    IF since IS NULL OR since <= interval '0' OR since > interval '10 years' THEN
        RAISE EXCEPTION 'the period of the report must be between 0 and 10 years'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example: SELECT pgleak.report(''7 days'').';
    END IF;
    began := upto - since;
    SELECT count(*) AS episodes, count(*) FILTER (WHERE h.ended_at IS NULL) AS open,
        count(DISTINCT h.application_name) AS applications, max(h.idle_for) AS longest, max(h.blocked) AS blocked,
        sum(h.blocked_for) AS blocked_for, count(*) FILTER (WHERE h.outcome IN ('cancelled', 'terminated')) AS stopped
    INTO s
    FROM pgleak.history h WHERE h.ended_at >= began OR h.ended_at IS NULL;

    RETURN '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        '<title>pgleak: session leaks</title><style>' || pgleak.report_style() || '</style></head><body>'
        || format('<h1>Session leaks</h1><p class="soft">%s to %s%s, PostgreSQL %s. Times are in %s.</p>',
            pgleak.report_time(began), pgleak.report_time(upto),
            coalesce(', ' || pgleak.report_escape(nullif(current_setting('cluster_name'), '')), ''),
            pgleak.report_escape(split_part(current_setting('server_version'), ' ', 1)),
            pgleak.report_escape(current_setting('TimeZone')))
        || '<div class="tiles">'
        || (SELECT string_agg(format('<div class="tile"><b>%s</b><span class="soft">%s</span></div>', value, label), '' ORDER BY place)
            FROM (VALUES
                (1, s.episodes::text, 'leaks of ' || s.applications || CASE s.applications WHEN 1 THEN ' application' ELSE ' applications' END),
                (2, s.open::text, 'still open'),
                (3, coalesce(pgleak.format_duration(s.longest), '-'), 'longest idle in a transaction'),
                (4, coalesce(s.blocked, 0)::text, 'sessions blocked by one leak at most'),
                (5, coalesce(pgleak.format_duration(nullif(s.blocked_for, interval '0')), '-'), 'others waited for leaks'),
                (6, s.stopped::text, 'stopped by pgleak')) AS tile (place, value, label))
        || '</div><h2>When</h2>' || pgleak.report_legend() || pgleak.report_timeline(began, upto)
        || '<h2>Who</h2>' || pgleak.report_offenders(began)
        || '<h2>Pools at the time of this report</h2>' || pgleak.report_pools()
        || '<h2>What pgleak did</h2>' || pgleak.report_actions(began)
        || '</body></html>';
END
$function$;
COMMENT ON FUNCTION pgleak.report(interval) IS 'one self-contained HTML page on the leaks of that long: timeline, offenders, pools, actions';

-- They run as the reader of the report, so he needs them all.
REVOKE ALL ON FUNCTION
    pgleak.report(interval),
    pgleak.report_escape(text),
    pgleak.report_time(timestamp with time zone),
    pgleak.report_style(),
    pgleak.report_legend(),
    pgleak.report_cell(text, text, text),
    pgleak.report_lane(text, text[], timestamp with time zone, timestamp with time zone, text),
    pgleak.report_timeline(timestamp with time zone, timestamp with time zone),
    pgleak.report_offenders(timestamp with time zone),
    pgleak.report_pools(),
    pgleak.report_actions(timestamp with time zone)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    pgleak.report(interval),
    pgleak.report_escape(text),
    pgleak.report_time(timestamp with time zone),
    pgleak.report_style(),
    pgleak.report_legend(),
    pgleak.report_cell(text, text, text),
    pgleak.report_lane(text, text[], timestamp with time zone, timestamp with time zone, text),
    pgleak.report_timeline(timestamp with time zone, timestamp with time zone),
    pgleak.report_offenders(timestamp with time zone),
    pgleak.report_pools(),
    pgleak.report_actions(timestamp with time zone)
TO pg_monitor;
-- Metrics ----------------------------------------------------------------------------------------------------

-- What monitoring/ gives to Prometheus. They read shared memory and never the history: a scrape must stay cheap. They
-- tell sessions apart by names that do not grow in number with the sessions: no pid, statement, trace or address.

-- Clients set application_name and the route as they like. Words that look like a number of something (a pod's, a
-- thread's, a row's) become '*': uuids, IPv4 addresses, three digits in a row, letters between digits.
CREATE FUNCTION pgleak.metric_label(value text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value IS NULL OR value = '' THEN 'unknown'
    ELSE pg_catalog.left(pg_catalog.regexp_replace(value,
        '[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}'
        '|[0-9]{1,3}([.][0-9]{1,3}){3}'
        '|[[:alnum:]]*([0-9]{3}|[0-9][[:alpha:]]+[0-9])[[:alnum:]]*',
        '*', 'g'), 63)
END;
COMMENT ON FUNCTION pgleak.metric_label(text) IS 'the text as a label of metrics: numbers in it are replaced by *, none at all is unknown';
REVOKE ALL ON FUNCTION pgleak.metric_label(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.metric_label(text) TO pg_monitor;

CREATE VIEW pgleak.metrics_sessions AS
WITH leak AS (
    SELECT l.database, l.role, pgleak.metric_label(l.application_name) AS application,
        GREATEST(l.idle_for, l.transaction_age) AS age, l.blocked
    FROM pgleak.leaks l
), common AS (
    SELECT l.application FROM leak l GROUP BY l.application ORDER BY pg_catalog.count(*) DESC, l.application LIMIT 20
)
SELECT
    l.database,
    l.role,
    COALESCE(c.application, 'other') AS application,
    pg_catalog.count(*) AS sessions,
    COALESCE(EXTRACT(epoch FROM pg_catalog.max(l.age)), 0)::double precision AS sessions_oldest_seconds,
    COALESCE(pg_catalog.sum(l.blocked), 0)::bigint AS blocked_sessions
FROM leak l LEFT JOIN common c USING (application)
GROUP BY l.database, l.role, COALESCE(c.application, 'other');
COMMENT ON VIEW pgleak.metrics_sessions IS 'for Prometheus: open leaks by database, role and application; the 20 applications with most of them, and other';
REVOKE ALL ON pgleak.metrics_sessions FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_sessions TO pg_monitor;

CREATE VIEW pgleak.metrics_routes AS
WITH leak AS (
    SELECT pgleak.metric_label(l.application_name) AS application,
        pgleak.metric_label(pgleak.route_of(l.tags)) AS route
    FROM pgleak.leaks l
), common AS (
    SELECT l.application, l.route FROM leak l
    GROUP BY l.application, l.route ORDER BY pg_catalog.count(*) DESC, l.application, l.route LIMIT 20
)
SELECT
    COALESCE(c.application, 'other') AS application,
    COALESCE(c.route, 'other') AS route,
    pg_catalog.count(*) AS sessions
FROM leak l LEFT JOIN common c USING (application, route)
GROUP BY COALESCE(c.application, 'other'), COALESCE(c.route, 'other');
COMMENT ON VIEW pgleak.metrics_routes IS 'for Prometheus: open leaks by application and route tag; the 20 with most of them, and other';
REVOKE ALL ON pgleak.metrics_routes FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_routes TO pg_monitor;

-- Of pools that differ only in what is no label, the worst.
CREATE VIEW pgleak.metrics_pools AS
WITH pool AS (
    SELECT COALESCE(p.database, 'all') AS database, COALESCE(p.role, 'all') AS role,
        CASE p.scope WHEN 'server' THEN 'all' ELSE pgleak.metric_label(p.application_name) END AS application,
        p.connections,
        CASE p.scope WHEN 'server' THEN p.connections ELSE p.active + p.idle_in_transaction END AS in_use,
        p.capacity, p.in_use_percent, p.exhausted_at, p.verdict,
        CASE p.verdict WHEN 'leaking' THEN 3 WHEN 'undersized' THEN 2 WHEN 'leak' THEN 1 ELSE 0 END AS severity
    FROM pgleak.pools p
    WHERE p.scope IN ('pool', 'server') AND p.capacity IS NOT NULL
), common AS (
    SELECT p.application FROM pool p
    GROUP BY p.application ORDER BY pg_catalog.sum(p.connections) DESC, p.application LIMIT 21
), named AS (
    SELECT p.database, p.role, COALESCE(c.application, 'other') AS application, p.connections, p.in_use, p.capacity,
        p.in_use_percent, p.exhausted_at, p.verdict, p.severity
    FROM pool p LEFT JOIN common c USING (application)
)
SELECT DISTINCT ON (n.database, n.role, n.application)
    n.database,
    n.role,
    n.application,
    n.connections,
    n.in_use,
    n.capacity,
    n.in_use_percent / 100.0::double precision AS in_use_ratio,
    EXTRACT(epoch FROM n.exhausted_at)::double precision AS exhaustion_timestamp_seconds,
    n.verdict
FROM named n
ORDER BY n.database, n.role, n.application, n.severity DESC, n.in_use_percent DESC, n.connections DESC;
COMMENT ON VIEW pgleak.metrics_pools IS 'for Prometheus: the worst pool of each database, role and application, and all of the server; the 20 applications with most connections, and other';
REVOKE ALL ON pgleak.metrics_pools FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_pools TO pg_monitor;

CREATE VIEW pgleak.metrics_outcomes AS
SELECT o.outcome, o.episodes FROM pgleak.read_outcomes() o;
COMMENT ON VIEW pgleak.metrics_outcomes IS 'for Prometheus: episodes that have ended since the server started or pgleak.reset(), by outcome';
REVOKE ALL ON pgleak.metrics_outcomes FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_outcomes TO pg_monitor;

CREATE VIEW pgleak.metrics_workers AS
SELECT
    s.leaks AS detections,
    COALESCE(EXTRACT(epoch FROM s.last_scan_at), 0)::double precision AS last_scan_timestamp_seconds,
    s.last_scan_us / 1e6::double precision AS scan_duration_seconds,
    EXTRACT(epoch FROM pg_catalog.current_setting('pgleak.scan_interval')::interval)::double precision
        AS scan_interval_seconds,
    s.cancels,
    s.cancels_failed,
    s.terminates,
    s.skipped,
    s.is_recording::integer AS is_recording,
    pg_catalog.pg_is_in_recovery()::integer AS is_in_recovery,
    s.events_queued,
    s.events_written,
    s.events_dropped,
    s.recorder_errors
FROM pgleak.stats s;
COMMENT ON VIEW pgleak.metrics_workers IS 'for Prometheus: one row, what the scanner and the recorder have done since the server started or pgleak.reset()';
REVOKE ALL ON pgleak.metrics_workers FROM PUBLIC;
GRANT SELECT ON pgleak.metrics_workers TO pg_monitor;
