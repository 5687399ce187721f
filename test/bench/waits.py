# What it costs to read pgleak.waits: 500 sessions that wait for one row, and 500 in chains of ten.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.

import statistics
import time

import psycopg2
import psycopg2.extensions

import beside
import rows

WAITERS, LINK, PAIRS, READS = 500, 10, 5, 20
MOST_US, LEAST_RATIO = 2000, 10
VIEW = "SELECT * FROM pgleak.waits"
# What one would ask instead. It has no depth; with it, it would not end within a minute.
CLASSIC = """WITH RECURSIVE waiting AS (
                 SELECT pid, locktype, relation, mode, waitstart, pg_blocking_pids(pid) AS blockers FROM pg_locks WHERE NOT granted
             ), behind (pid, blocker) AS (
                 SELECT pid, unnest(blockers) FROM waiting
                 UNION SELECT b.pid, unnest(w.blockers) FROM behind b JOIN waiting w ON w.pid = b.blocker
             )
             SELECT w.*, a.pid AS root, a.state, a.application_name, a.query FROM behind b JOIN waiting w USING (pid)
               JOIN pg_stat_activity a ON a.pid = b.blocker WHERE a.pid NOT IN (SELECT pid FROM waiting)"""


def connect():
    connection = psycopg2.connect("", async_=True)
    while connection.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.001)
    return connection


def run(connection, statement):
    """Runs a statement that does not wait."""
    cursor = connection.cursor()  # the connection does not keep it
    cursor.execute(statement)
    while connection.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.001)


class Bench:
    def __init__(self):
        observer = psycopg2.connect("")
        observer.autocommit = True
        self.cursor = observer.cursor()
        self.cursor.execute("CREATE TABLE hot AS SELECT 1 AS id, 0 AS amount")

    def one_row(self):
        holder = connect()
        run(holder, "BEGIN; UPDATE hot SET amount = 1")
        waiters = [connect() for _ in range(WAITERS)]
        for waiter in waiters:
            waiter.cursor().execute("UPDATE hot SET amount = 2")
        return [holder, *waiters]

    def chains(self):
        sessions = []
        for number in range(WAITERS + WAITERS // LINK):
            session = connect()
            run(session, f"BEGIN; SELECT pg_advisory_xact_lock({number})")
            if number % (LINK + 1) > 0:
                session.cursor().execute(f"SELECT pg_advisory_xact_lock({number - 1})")
            sessions.append(session)
        return sessions

    def measure(self, name, make_sessions):
        sessions = make_sessions()
        beside.wait_for(self.cursor, "SELECT count(*)::int FROM pgleak.waits WHERE root_pid IS NOT NULL", WAITERS)
        beside.read_us(self.cursor, VIEW, READS)
        pairs = [(beside.read_us(self.cursor, VIEW, READS), beside.read_us(self.cursor, CLASSIC, 1)) for _ in range(PAIRS)]
        ours, theirs = zip(*pairs)
        met = statistics.median(ours) <= MOST_US and statistics.median(rows.ratios(ours, theirs)) >= LEAST_RATIO
        rows.add(f"reading pgleak.waits, {WAITERS} waiters: {name}", "us", ours, "pg_blocking_pids(), followed to the roots", theirs,
                 f"<= {MOST_US} us, >= {LEAST_RATIO}x", met)
        self.cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        for session in sessions:
            session.close()
        beside.wait_for(self.cursor, "SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'", 1)


def main():
    bench = Bench()
    bench.measure("one row", bench.one_row)
    bench.measure(f"chains of {LINK}", bench.chains)


main()
