# What several benchmarks put beside what they measure: idle sessions, a client that polls, the CPU time of a process,
# the time of a query inside the server.
# Called by: the benchmarks here, with PGHOST and PGPORT of a throw-away cluster.

import concurrent.futures
import contextlib
import multiprocessing
import pathlib
import time

import psycopg2

CLASSIC = """SELECT pid, usename, application_name, state_change, query FROM pg_stat_activity
              WHERE state = 'idle in transaction' AND clock_timestamp() - state_change > '100ms'"""
# Backends there can be: the server's MaxBackends, of its settings.
SLOTS = """SELECT (sum(setting::int) + 1)::int FROM pg_settings WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders')
               OR name = CASE WHEN current_setting('autovacuum_worker_slots', true) IS NULL THEN 'autovacuum_max_workers'
                              ELSE 'autovacuum_worker_slots' END"""
PERIOD = 0.01  # seconds between two polls, as between two scans of the scanner


def connect_many(count, dsn=""):
    """As many idle sessions."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(psycopg2.connect, [dsn] * count))


def wait_for(cursor, query, expected, patience=120):
    """Until the query's first value is what is expected."""
    deadline = time.monotonic() + patience
    while True:
        cursor.execute(query)
        found = cursor.fetchone()[0]
        if found == expected:
            return
        assert time.monotonic() < deadline, f"{query}: {found}, not {expected}"
        time.sleep(0.05)


def read_us(cursor, query, reads):
    """Microseconds for a read in a loop inside the server: the median, as others may take the processor meanwhile."""
    cursor.execute(f"""DO $$
        DECLARE started timestamptz; spent interval[]; r record;
        BEGIN
            FOR i IN 1..{reads} LOOP
                started := clock_timestamp();
                FOR r IN {query} LOOP END LOOP;
                spent := spent || (clock_timestamp() - started);
            END LOOP;
            PERFORM set_config('bench.us', (SELECT extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY s)) * 1e6
                                              FROM unnest(spent) s)::text, false);
        END $$""")
    cursor.execute("SELECT current_setting('bench.us')::float8")
    return cursor.fetchone()[0]


def cpu_ms(pids):
    """CPU time of processes so far, in ms, of all their threads."""
    tasks = [task for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def poll(dsn, is_ready):
    connection = psycopg2.connect(dsn, application_name="polling")
    connection.autocommit = True
    cursor = connection.cursor()
    due = time.monotonic()
    while True:
        cursor.execute(CLASSIC)
        cursor.fetchall()
        is_ready.set()
        due = max(due + PERIOD, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))


@contextlib.contextmanager
def polling(dsn=""):
    """A client that asks pg_stat_activity for leaks each 10 ms, or as often as it gets answers."""
    context = multiprocessing.get_context("spawn")
    is_ready = context.Event()
    client = context.Process(target=poll, args=(dsn, is_ready), daemon=True)
    client.start()
    try:
        assert is_ready.wait(60), "the client does not poll"
        yield
    finally:
        client.kill()
        client.join()
