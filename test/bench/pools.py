# What it costs the scanner to count and judge 2,000 pools once a second.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.

import statistics
import time

import psycopg2

import beside
import rows

POOLS, WINDOWS, SECONDS = 2000, 3, 5
MOST = 1  # ms of CPU a second


def letters(number):
    """A number as a name of an application: digits would be left out of it."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def name_all(sessions, name):
    for i, session in enumerate(sessions):
        session.cursor().execute("SELECT set_config('application_name', %s, false)", (name(i),))


def ms_per_second(scanner, sessions, is_busy):
    """CPU time of the scanner, with everything else that it does in a second."""
    begun, started = beside.cpu_ms([scanner]), time.monotonic()
    while time.monotonic() - started < SECONDS:
        if is_busy:
            for session in sessions:
                session.cursor().execute("SELECT 1")
        else:
            time.sleep(0.1)
    return (beside.cpu_ms([scanner]) - begun) / (time.monotonic() - started)


def main():
    observer = psycopg2.connect("")
    observer.autocommit = True
    cursor = observer.cursor()
    cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak scanner'")
    scanner = cursor.fetchone()[0]
    sessions = beside.connect_many(POOLS)
    for session in sessions:
        session.autocommit = True
    # A pool keeps its entry for an hour after its last session, so the one pool comes first.
    found = {}
    for name, count in ((lambda i: "service", 1), (lambda i: "service " + letters(i), POOLS)):
        name_all(sessions, name)
        beside.wait_for(cursor, "SELECT count(*)::int FROM pgleak.pools WHERE application_name LIKE 'service%'", count)
        time.sleep(2)
        for is_busy in (False, True):
            found[count, is_busy] = [ms_per_second(scanner, sessions, is_busy) for _ in range(WINDOWS)]
    for kind, is_busy in (("idle", False), ("each runs statements", True)):
        ours = found[POOLS, is_busy]
        rows.add(f"scanner's CPU a second, {POOLS} sessions in as many pools, {kind}", "ms", ours, "one pool", found[1, is_busy],
                 f"<= {MOST} ms", statistics.median(ours) <= MOST)
    rows.add(f"reading pgleak.pools, {POOLS} pools", "us", [beside.read_us(cursor, "SELECT * FROM pgleak.pools", 20)])


main()
