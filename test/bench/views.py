# What it costs to read pgleak.leaks and pgleak.pools with 10 leaks among 1,000 sessions, and the size of the shared memory.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.

import statistics
import time

import psycopg2

import beside
import rows

SESSIONS, LEAKS, PAIRS, READS = 1000, 10, 11, 20
CLASSIC = "SELECT * FROM pg_stat_activity WHERE state = 'idle in transaction' AND clock_timestamp() - state_change > '100ms'"


def main():
    observer = psycopg2.connect("")
    observer.autocommit = True
    cursor = observer.cursor()
    sessions = [psycopg2.connect("") for _ in range(SESSIONS)]
    for session in sessions[:LEAKS]:
        session.cursor().execute("SELECT 1")
    deadline = time.monotonic() + 60
    while True:
        cursor.execute("SELECT count(*) FROM pgleak.leaks")
        if cursor.fetchone()[0] == LEAKS:
            break
        assert time.monotonic() < deadline, "pgleak has not found the leaks"
        time.sleep(0.1)
    for view, most in (("leaks", 300), ("pools", 1000)):
        query = f"SELECT * FROM pgleak.{view}"
        beside.read_us(cursor, query, READS)
        pairs = [(beside.read_us(cursor, query, READS), beside.read_us(cursor, CLASSIC, READS)) for _ in range(PAIRS)]
        ours, theirs = zip(*pairs)
        rows.add(f"reading pgleak.{view}, {LEAKS} leaks among {SESSIONS} sessions", "us", ours, "pg_stat_activity", theirs,
                 f"<= {most} us", statistics.median(ours) <= most)

    cursor.execute(f"""SELECT sum(allocated_size)::float8 / ({beside.SLOTS}) FROM pg_shmem_allocations
                        WHERE name IN ('pgleak sessions', 'pgleak trails')""")
    size = cursor.fetchone()[0]
    rows.add("shared memory for each backend slot", "bytes", [size], target="<= 4096 bytes", met=size <= 4096)
    cursor.execute("SELECT sum(allocated_size)::float8 / 1024 FROM pg_shmem_allocations WHERE name LIKE 'pgleak %'")
    rows.add(f"shared memory in all at max_connections = {SESSIONS + 100}", "kB", cursor.fetchone())


main()
