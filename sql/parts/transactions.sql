-- Transactions: all that are open now, and the course of one that leaked.

CREATE FUNCTION pgleak.read_transactions(
    OUT pid integer,
    OUT database text,
    OUT role text,
    OUT application_name text,
    OUT state text,
    OUT xact_start timestamp with time zone,
    OUT transaction_age interval,
    OUT idle_for interval,
    OUT query text,
    OUT query_id bigint,
    OUT tags jsonb,
    OUT route text,
    OUT code text,
    OUT trail jsonb)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_transactions'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION pgleak.read_transactions() IS 'transactions that are open now; use pgleak.open_transactions()';

CREATE FUNCTION pgleak.open_transactions(application_name text DEFAULT NULL)
RETURNS TABLE (
    pid integer,
    database text,
    role text,
    application_name text,
    state text,
    xact_start timestamp with time zone,
    transaction_age interval,
    idle_for interval,
    query text,
    query_id bigint,
    tags jsonb,
    route text,
    code text,
    trail jsonb)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT t.pid, t.database, t.role, t.application_name, t.state, t.xact_start, t.transaction_age, t.idle_for, t.query,
        t.query_id, t.tags, t.route, t.code, t.trail
    FROM pgleak.read_transactions() t
    WHERE t.application_name = $1 OR $1 IS NULL
    ORDER BY t.xact_start, t.pid
$function$;
COMMENT ON FUNCTION pgleak.open_transactions(text) IS 'sessions, of one application or of all, that are in a transaction now, the oldest first: for tests, which need not wait for a limit; not the caller''s own session; those of other users are masked as in pg_stat_activity';

CREATE FUNCTION pgleak.timeline(leak_id bigint)
RETURNS TABLE (
    at timestamp with time zone,
    activity text,
    lasted interval,
    idle interval,
    count integer,
    query_id bigint,
    query text)
LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $function$
    WITH leak AS (
        SELECT l.trail, l.idle_since, clock_timestamp() AS seen_until, 1 AS place
        FROM pgleak.leaks l WHERE l.leak_id = timeline.leak_id
        UNION ALL
        SELECT h.trail, h.idle_since, h.ended_at, 2
        FROM pgleak.history h WHERE h.leak_id = timeline.leak_id
        ORDER BY place LIMIT 1
    ), entry AS (
        SELECT e.number, (e.entry ->> 'at')::timestamptz AS began_at,
            coalesce(e.entry ->> 'last_at', e.entry ->> 'at')::timestamptz AS last_at,
            (e.entry ->> 'idle_before')::float8 * interval '1 second' AS idle_before,
            coalesce((e.entry ->> 'idle_within')::float8, 0) * interval '1 second' AS idle_within,
            coalesce((e.entry ->> 'count')::integer, 1) AS count,
            (e.entry ->> 'omitted')::integer AS omitted,
            (e.entry ->> 'query_id')::bigint AS query_id, e.entry ->> 'query' AS query
        FROM leak, jsonb_array_elements(leak.trail) WITH ORDINALITY AS e (entry, number)
    ), following AS (
        SELECT e.*, lead(e.began_at - e.idle_before) OVER w AS next_idle_at, lead(e.omitted) OVER w AS next_omitted,
            lead(e.number) OVER w IS NULL AS is_last
        FROM entry e WINDOW w AS (ORDER BY e.number)
    ), timed AS (
        -- A statement ends where the idle time behind it begins. What the first of the missing ones did is not known.
        SELECT f.*, CASE
            WHEN f.next_omitted > 0 THEN NULL
            WHEN NOT f.is_last THEN f.next_idle_at
            WHEN l.idle_since >= f.last_at THEN l.idle_since
        END AS ended_at, l.seen_until
        FROM following f, leak l
    )
    SELECT line.at, line.activity, line.lasted, line.idle, line.count, line.query_id, line.query
    FROM (
        SELECT t.number, 1, NULL::timestamptz, 'omitted', NULL::interval, NULL::interval, t.omitted, NULL::bigint, NULL::text
        FROM timed t WHERE t.omitted > 0
        UNION ALL
        SELECT t.number, 2, t.began_at - t.idle_before, 'idle', t.idle_before, t.idle_before, NULL, NULL, NULL
        FROM timed t WHERE t.idle_before > '0'
        UNION ALL
        SELECT t.number, 3, t.began_at, 'statement', t.ended_at - t.began_at, t.idle_within, t.count, t.query_id, t.query
        FROM timed t
        UNION ALL
        SELECT t.number, 4, t.ended_at, 'idle', t.seen_until - t.ended_at, t.seen_until - t.ended_at, NULL, NULL, NULL
        FROM timed t WHERE t.is_last AND t.ended_at IS NOT NULL
    ) AS line (number, part, at, activity, lasted, idle, count, query_id, query)
    ORDER BY line.number, line.part
$function$;
COMMENT ON FUNCTION pgleak.timeline(bigint) IS 'the course of a leaked transaction as far as its trail goes: when it ran which statement and for how long (NULL: not known), and how long it was idle; several runs of one statement in a row are one row, with the idle time between them';
REVOKE ALL ON FUNCTION pgleak.timeline(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.timeline(bigint) TO pg_monitor;
