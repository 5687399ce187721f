# How long after its limit a leak is detected, and how long a client that asks pg_stat_activity each second takes.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.
#
# Both look at the same sessions at the same time; pgleak.scan_interval is the second at which the client asks, and the limit
# is longer, so that the scanner has seen each session before its limit is met.

import time

import psycopg2

import rows

LEAKS = 400
LIMIT = 3  # seconds, as in the cluster's settings
TARGETS = {"median": (0.5, 1), "p95": (0.95, 3), "p99": (0.99, 10)}  # share, milliseconds
POLL = """SELECT pid, extract(epoch FROM clock_timestamp() - state_change)::float8 FROM pg_stat_activity
           WHERE state = 'idle in transaction' AND clock_timestamp() - state_change > interval '%s s'"""


def main():
    observer = psycopg2.connect("")
    observer.autocommit = True
    cursor = observer.cursor()
    sessions = [psycopg2.connect("") for _ in range(LEAKS)]
    polled = {}
    next_poll = time.monotonic()
    deadline = time.monotonic() + 120
    waiting = iter(sessions)
    while len(polled) < LEAKS:
        assert time.monotonic() < deadline, f"{len(polled)} of {LEAKS} sessions are idle for their limit"
        session = next(waiting, None)
        if session is not None:
            session.cursor().execute("SELECT 1")
        time.sleep(0.0093)  # spreads the leaks over all places of the second
        if time.monotonic() >= next_poll:
            next_poll += 1
            cursor.execute(POLL, (LIMIT,))
            for pid, idle in cursor.fetchall():
                polled.setdefault(pid, (idle - LIMIT) * 1000)
    cursor.execute("SELECT pid, extract(epoch FROM detected_at - idle_since)::float8 FROM pgleak.leaks")
    found = {pid: (idle - LIMIT) * 1000 for pid, idle in cursor.fetchall()}
    assert found.keys() == polled.keys(), f"pgleak has found {len(found)} of {LEAKS}"

    for name, (share, most) in TARGETS.items():
        ours, theirs = (sorted(values.values())[round(share * LEAKS) - 1] for values in (found, polled))
        rows.add(f"detected after the limit, {name} of {LEAKS} leaks", "ms", [max(ours, 0.001)],
                 "pg_stat_activity each second", [theirs], f"<= {most} ms", ours <= most)


main()
