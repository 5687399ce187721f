-- The schema. All names below are qualified, because the user who runs the script may have any search_path.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pgleak" to load this file. \quit

-- Without IF NOT EXISTS: the owner of an existing schema would own every object below.
CREATE SCHEMA pgleak;
REVOKE ALL ON SCHEMA pgleak FROM PUBLIC;
GRANT USAGE ON SCHEMA pgleak TO PUBLIC;
COMMENT ON SCHEMA pgleak IS 'session leaks: connections that an application took and left idle in a transaction';
