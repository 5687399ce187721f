\set ECHO none
-- What the pg_regress tests share: the extension, second sessions through dblink, and waiting for a condition instead of
-- sleeping. Everything lives in pg_temp and goes with the test's own session.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgleak;
CREATE EXTENSION IF NOT EXISTS dblink;
RESET client_min_messages;

CREATE TEMP TABLE session (
    session text PRIMARY KEY,
    pid integer NOT NULL,
    backend_start timestamp with time zone NOT NULL
);

-- What pgleak and the server say of those sessions.
CREATE TEMP VIEW leak AS
    SELECT s.session, l.* FROM session s JOIN pgleak.leaks l USING (pid, backend_start);
CREATE TEMP VIEW history AS
    SELECT s.session, h.* FROM session s JOIN pgleak.history h USING (pid, backend_start);
CREATE TEMP VIEW activity AS
    SELECT s.session, a.* FROM session s JOIN pg_stat_activity a USING (pid, backend_start);

-- Opens a session; its name is also its application_name unless the options (as in a connection string) say otherwise.
CREATE PROCEDURE pg_temp.connect(session text, options text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
    socket_directory text := split_part(current_setting('unix_socket_directories'), ',', 1);
BEGIN
    PERFORM dblink_connect(session, format('host=%L port=%L dbname=%L user=%L application_name=%L %s', socket_directory,
        current_setting('port'), current_database(), current_user, session, options));
    DELETE FROM pg_temp.session s WHERE s.session = connect.session;
    INSERT INTO pg_temp.session
        SELECT connect.session, t.pid, t.backend_start
        FROM dblink(session, 'SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()')
            AS t(pid integer, backend_start timestamp with time zone);
END
$$;

-- Ends all of them and waits until they are gone, also those that do not listen. (A warning: one was gone already.)
CREATE PROCEDURE pg_temp.disconnect_all() LANGUAGE plpgsql SET client_min_messages = error AS $$
BEGIN
    PERFORM pg_terminate_backend(pid) FROM activity;
    PERFORM dblink_disconnect(c) FROM unnest(dblink_get_connections()) AS c;
    CALL pg_temp.wait_for('SELECT NOT EXISTS (SELECT FROM activity)');
    DELETE FROM pg_temp.session;
END
$$;

-- Runs statements in that session; returns the last one's first value or its tag. An error there is a NOTICE here.
-- regress.pause, in seconds, makes this machine a slow one (PGLEAK_PAUSE of test/run).
CREATE FUNCTION pg_temp.run(session text, statements text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_sleep(nullif(current_setting('regress.pause', true), '')::float8);
    SELECT * FROM dblink(session, statements, false) AS t(result text)
$$;

-- Polls until the query returns true. Has the scanner look each time, unless it is to find out by itself.
CREATE PROCEDURE pg_temp.wait_for(query text, scans boolean DEFAULT true) LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamp with time zone := clock_timestamp() + interval '2 minutes';
    is_true boolean;
BEGIN
    LOOP
        IF scans THEN
            PERFORM pgleak.scan();
        END IF;
        PERFORM pg_stat_clear_snapshot();
        EXECUTE query INTO is_true;
        EXIT WHEN is_true;
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'timed out waiting for: %', query;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$$;

-- Until each of these sessions has an open leak, or none has.
CREATE PROCEDURE pg_temp.wait_for_leak(VARIADIC sessions text[]) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.wait_for(format('SELECT count(*) = %s FROM leak WHERE session = ANY (%L)', cardinality(sessions), sessions));
END
$$;

CREATE PROCEDURE pg_temp.wait_for_no_leak(VARIADIC sessions text[]) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.wait_for(format('SELECT NOT EXISTS (SELECT FROM leak WHERE session = ANY (%L))', sessions));
END
$$;

-- Until that session's newest row in history, and every older one, is completed and the newest has this outcome.
CREATE PROCEDURE pg_temp.wait_for_outcome(session text, outcome text) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.wait_for(format('SELECT count(*) > 0 AND bool_and(ended_at IS NOT NULL)'
        ' AND (array_agg(outcome ORDER BY leak_id DESC))[1] = %L FROM history WHERE session = %L', outcome, session));
END
$$;

-- Runs a statement that should fail here; returns its SQLSTATE and message. Newer servers print ranges with units.
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '\((-?\d+)[ a-z]* \.\. (\d+)[ a-z]*\)', '(\1 .. \2)');
END
$$;
\set ECHO all
