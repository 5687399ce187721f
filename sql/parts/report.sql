-- The report: one function, which runs with the rights of its caller.

CREATE FUNCTION pgleak.report(since interval DEFAULT '1 day')
RETURNS text
AS 'MODULE_PATHNAME', 'pgleak_render_report'
LANGUAGE C STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION pgleak.report(interval) IS 'leaks of the given period as one self-contained HTML page: timeline, offenders, what holds VACUUM back, pools with the time when they got into trouble, actions';
REVOKE ALL ON FUNCTION pgleak.report(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgleak.report(interval) TO pg_monitor;
