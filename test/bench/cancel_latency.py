# How long a cancel in place takes, from the decision until the locks are free.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.
#
# One session updates a row and stays idle in its transaction; another one waits for that row. Times are of the server's
# clock, and of those who have to wait:
#   begin  by hand: when the statement that calls pgleak.cancel() runs, which is before the scanner even knows.
#          by a limit: the moment at which the limit is met, which the scanner has to wake up for. For this part
#          pgleak.scan_interval is shorter than the limit, or the scanner would not know of the session in time.
#   free   when the waiter has the row's lock and goes on.
# So both figures hold more than the way from the decision to the locks, never less.

import argparse
import random
import threading
import time

import psycopg2

import rows

TARGETS = {"median": 1.0, "p99": 5.0}  # milliseconds, on an idle machine
LIMIT = 0.05  # seconds


def connect(user):
    connection = psycopg2.connect(user=user, application_name="cancel_latency")
    connection.autocommit = True
    return connection, connection.cursor()


def value(cursor, statement, *parameters):
    cursor.execute(statement, parameters)
    return cursor.fetchone()[0]


class Waiter(threading.Thread):
    """Waits for the row; afterwards `free_at` is when it had it."""

    def __init__(self, connection, cursor):
        super().__init__()
        self.connection, self.cursor = connection, cursor
        self.free_at = None
        self.start()

    def run(self):
        # The clock is read above the lock of the row, so after it.
        self.free_at = value(
            self.cursor,
            "SELECT extract(epoch FROM clock_timestamp())::float8 FROM (SELECT FROM t WHERE id = 1 FOR UPDATE) locked")


def wait_until_waiting(cursor, pid):
    while not value(cursor, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)", pid):
        time.sleep(0.001)


class Bench:
    def __init__(self):
        self.administrator = connect("postgres")[1]
        self.administrator.execute(f"""
            CREATE EXTENSION pgleak;
            CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL);
            INSERT INTO t VALUES (1, 0);
            CREATE ROLE by_hand LOGIN;
            CREATE ROLE by_limit LOGIN;
            ALTER ROLE by_limit SET pgleak.idle_leak_after = '{LIMIT}s';
            ALTER ROLE by_limit SET pgleak.idle_cancel_after = '{LIMIT}s';
            GRANT ALL ON t TO by_hand, by_limit""")
        self.leaks = {role: connect(role) for role in ("by_hand", "by_limit")}
        self.waiting = connect("postgres")

    def round(self, role):
        """One cancel; returns (milliseconds until free, milliseconds until pgleak.cancel() returned or None)."""
        connection, cursor = self.leaks[role]
        pid = connection.get_backend_pid()
        cursor.execute("BEGIN; UPDATE t SET n = n + 1 WHERE id = 1")
        waiter = Waiter(*self.waiting)
        if role == "by_hand":
            wait_until_waiting(self.administrator, self.waiting[0].get_backend_pid())
            time.sleep(random.uniform(0, 0.02))  # to meet the scanner at any place of its sleep
            begin, is_done, end = self.cancel(pid)
            assert is_done, "not cancelled"
        else:
            begin = LIMIT + value(
                self.administrator,
                "SELECT extract(epoch FROM state_change)::float8 FROM pg_stat_activity WHERE pid = %s", pid)
        waiter.join()
        cursor.execute("ROLLBACK")
        return (waiter.free_at - begin) * 1000, (end - begin) * 1000 if role == "by_hand" else None

    def look_often(self):
        self.administrator.execute("ALTER SYSTEM SET pgleak.scan_interval = '10ms'")
        self.administrator.execute("SELECT pg_reload_conf()")

    def cancel(self, pid):
        self.administrator.execute(
            "SELECT extract(epoch FROM clock_timestamp())::float8, pgleak.cancel(%s),"
            " extract(epoch FROM clock_timestamp())::float8", (pid,))
        return self.administrator.fetchone()


def percentile(sorted_values, share):
    """The smallest value that `share` of all do not exceed."""
    return sorted_values[max(0, -(-int(share * len(sorted_values) * 1000) // 1000) - 1)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)

    bench = Bench()
    results = {}
    for role, name in (("by_hand", "asked by hand"), ("by_limit", "limit met")):
        if role == "by_limit":
            bench.look_often()
        for _ in range(20):
            bench.round(role)  # caches
        rounds = [bench.round(role) for _ in range(options.rounds)]
        results[f"cancel, {name}: until the waiter goes on"] = [result[0] for result in rounds]
        if role == "by_hand":
            results[f"cancel, {name}: until pgleak.cancel() returns"] = [result[1] for result in rounds]

    for place, (name, values) in enumerate(results.items()):
        values.sort()
        for column, share in (("median", 0.5), ("p95", 0.95), ("p99", 0.99)):
            value, most = percentile(values, share), TARGETS.get(column) if place == 0 else None
            rows.add(f"{name}, {column} of {len(values)}", "ms", [value],
                     target="" if most is None else f"<= {most:g} ms", met=None if most is None else value <= most)


main()
