# Measuring what it costs to know how many sessions wait behind a leak. What is measured: README.md here.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.
import argparse
import statistics
import sys
import time

import psycopg2
import psycopg2.extensions

import rows

LOOKS = 100  # of each repetition
REPETITIONS = 5
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

    def scans(self):
        """How long the scans take, in us."""
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
        nobody = self.scans()
        for waiter in waiters:
            waiter.cursor().execute(wait_statement)
        self.wait_for("SELECT count(*)::int FROM pg_stat_activity WHERE wait_event_type = 'Lock'", self.sessions)
        costs, classic = [], []
        for _ in range(REPETITIONS):
            costs.append(max(1, statistics.median(self.scans()) - statistics.median(nobody)))
            classic.append(self.blocking_pids())
        blocked = self.ask("SELECT blocked FROM pgleak.leaks")
        if blocked != self.sessions:
            sys.exit(f"{blocked} sessions are blocked, not {self.sessions}")

        self.ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                 " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        self.wait_for("SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend'", 1)
        self.wait_for("SELECT pgleak.scan()::int", 0)
        return costs, classic


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", type=int)
    bench = Bench(parser.parse_args().sessions)
    results = {
        "row": bench.measure("UPDATE hot SET amount = 1", "UPDATE hot SET amount = 2"),
        "table": bench.measure("SELECT * FROM hot", "ALTER TABLE hot ALTER id SET NOT NULL"),
        "advisory": bench.measure("SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_lock(1)"),
    }
    for kind, (costs, classic) in results.items():
        met = (statistics.median(costs) <= TARGET_US
               and statistics.median(rows.ratios(costs, classic)) >= TARGET_RATIO)
        rows.add(f"knowing that {bench.sessions} wait behind a leak: {kind}", "us", costs, "pg_blocking_pids() for each",
                 classic, f"<= {TARGET_US} us, >= {TARGET_RATIO}x", met)


main()
