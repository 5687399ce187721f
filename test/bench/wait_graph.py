# Owns: measuring what it costs to know how many sessions wait behind a leak. What is measured: README.md here.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Prints a table, then CSV.
import argparse
import statistics
import sys
import time

import psycopg2
import psycopg2.extensions

LOOKS = 200
PATIENCE = 300  # seconds
TARGET_US = 300
TARGET_RATIO = 30


def connect(is_asynchronous=False):
    connection = psycopg2.connect("", async_=is_asynchronous)
    while is_asynchronous and connection.poll() != psycopg2.extensions.POLL_OK:
        time.sleep(0.001)
    if not is_asynchronous:
        connection.autocommit = True
    return connection


class Bench:
    def __init__(self, sessions):
        self.sessions = sessions
        self.observer = connect().cursor()
        self.observer.execute("CREATE TABLE hot AS SELECT 1 AS id, 0 AS amount")

    def ask(self, query):
        self.observer.execute(query)
        return self.observer.fetchone()[0]

    def wait_for(self, query, expected):
        deadline = time.monotonic() + PATIENCE
        while (found := self.ask(query)) != expected:
            if time.monotonic() > deadline:
                sys.exit(f"{query}: {found}, not {expected}")
            time.sleep(0.1)

    def looks(self):
        """How long looks of the scanner take, in us."""
        times = []
        for _ in range(LOOKS):
            self.ask("SELECT pgleak.scan()")
            times.append(self.ask("SELECT last_scan_us FROM pgleak.stats"))
        return times

    def blocking_pids(self):
        """How long pg_blocking_pids() takes for all that wait, in us."""
        self.observer.execute("""DO $$
            DECLARE
                pids integer[] := ARRAY(SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock');
                started timestamp with time zone := clock_timestamp();
            BEGIN
                PERFORM pg_blocking_pids(pid) FROM unnest(pids) AS pid;
                PERFORM set_config('bench.us', (extract(epoch FROM clock_timestamp() - started) * 1e6)::text, false);
            END $$""")
        return float(self.ask("SELECT current_setting('bench.us')"))

    def measure(self, leak_statement, wait_statement):
        leak = connect()
        leak.autocommit = False
        leak.cursor().execute(leak_statement)
        self.wait_for("SELECT pgleak.scan()::int", 1)
        waiters = [connect(is_asynchronous=True) for _ in range(self.sessions)]
        nobody = self.looks()
        for waiter in waiters:
            waiter.cursor().execute(wait_statement)
        self.wait_for("SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock'", self.sessions)
        # One half before and one after, so that both are measured under the same load.
        everybody = self.looks()
        classic = min(self.blocking_pids() for _ in range(3))
        everybody += self.looks()
        blocked = self.ask("SELECT blocked FROM pgleak.leaks")
        if blocked != self.sessions:
            sys.exit(f"{blocked} sessions are blocked, not {self.sessions}")

        self.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                 " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        self.wait_for("SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'", 1)
        self.wait_for("SELECT pgleak.scan()::int", 0)
        cost = max(1, statistics.median(everybody) - statistics.median(nobody))
        return {
            "look: nobody waits (median)": statistics.median(nobody),
            "look: all wait (median)": statistics.median(everybody),
            "look: all wait (95 % within)": sorted(everybody)[int(0.95 * len(everybody))],
            "knowing who waits": cost,
            "pg_blocking_pids() for each (best of 3)": classic,
            "ratio": classic / cost,
        }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", type=int)
    bench = Bench(parser.parse_args().sessions)
    results = {
        "row": bench.measure("UPDATE hot SET amount = 1", "UPDATE hot SET amount = 2"),
        "table": bench.measure("SELECT * FROM hot", "ALTER TABLE hot ALTER id SET NOT NULL"),
        "advisory": bench.measure("SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_lock(1)"),
    }
    measures = next(iter(results.values())).keys()
    width = max(map(len, measures))
    print(f"\n{'microseconds':{width}} " + "".join(f"{name:>10}" for name in results))
    for measure in measures:
        print(f"{measure:{width}} " + "".join(f"{result[measure]:10.0f}" for result in results.values()))
    missed = [name for name, result in results.items()
              if result["knowing who waits"] > TARGET_US or result["ratio"] < TARGET_RATIO]
    print("targets: " + ("missed: " + ", ".join(missed) if missed else "met")
          + f" (at most {TARGET_US} us, ratio at least {TARGET_RATIO})")
    print("\nmeasure," + ",".join(results))
    for measure in measures:
        print(f"{measure}," + ",".join(f"{result[measure]:.0f}" for result in results.values()))


main()
