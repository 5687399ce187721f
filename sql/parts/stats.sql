-- Statistics: the counters of the scanner and the recorder.

CREATE FUNCTION pgleak.read_stats(
    OUT scans bigint,
    OUT last_scan_at timestamp with time zone,
    OUT last_scan_us bigint,
    OUT leaks bigint,
    OUT cancels bigint,
    OUT cancels_failed bigint,
    OUT terminates bigint,
    OUT skipped bigint,
    OUT paused_until timestamp with time zone,
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
COMMENT ON FUNCTION pgleak.read_stats() IS 'counters of the scanner and the recorder; use the view pgleak.stats';

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
    s.paused_until,
    s.events_queued,
    s.events_written,
    s.events_dropped,
    s.recorder_errors,
    s.last_error,
    s.last_error_at,
    s.started_at,
    s.is_recording,
    (SELECT pg_catalog.concat_ws(' ', h.kind, coalesce(h.gid, h.slot_name, 'pid ' || h.pid), nullif(h.application_name, ''))
     FROM pgleak.read_horizon() h WHERE h.is_oldest
     ORDER BY h.age_transactions DESC, h.age DESC NULLS LAST LIMIT 1) AS horizon_holder
FROM pgleak.read_stats() s;
COMMENT ON VIEW pgleak.stats IS 'one row: what the scanner and the recorder have done since the server started or pgleak.reset(), and what holds VACUUM back most now';
COMMENT ON COLUMN pgleak.stats.horizon_holder IS 'what holds VACUUM back most now, the first row of pgleak.horizon with is_oldest; NULL: nothing does';
REVOKE ALL ON pgleak.stats FROM PUBLIC;
REVOKE ALL ON FUNCTION pgleak.read_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.read_stats() TO pg_monitor;
GRANT SELECT ON pgleak.stats TO pg_monitor;

CREATE FUNCTION pgleak.read_outcomes(
    OUT outcome text,
    OUT episodes bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pgleak_read_outcomes'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 7;
COMMENT ON FUNCTION pgleak.read_outcomes() IS 'episodes that ended since the server started or pgleak.reset(), by outcome; use the view pgleak.metrics_outcomes';
REVOKE ALL ON FUNCTION pgleak.read_outcomes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.read_outcomes() TO pg_monitor;

CREATE FUNCTION pgleak.reset()
RETURNS void
AS 'MODULE_PATHNAME', 'pgleak_reset_counters'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION pgleak.reset() IS 'sets the counters of pgleak.stats to zero and, within a second, forgets the idle times of pgleak.idle_times; keeps history, open leaks and queued events';
REVOKE ALL ON FUNCTION pgleak.reset() FROM PUBLIC;
