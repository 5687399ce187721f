# How long one scan takes, beside the query that people run for it.
# Called by: test/bench/run, as `scan.py PORT_100 PORT_1000 PORT_5000 PORT_16KB`, with PGHOST; the servers run the build for
# injection, whose scanner times its own scans, and log into PGHOST. Adds rows to the table.

import contextlib
import os
import pathlib
import re
import statistics
import sys
import time

import psycopg2

import beside
import rows

REPETITIONS = 5
LIMIT = 0.1  # seconds, which test/bench/run sets
FEW, SOME, MANY = 100, 1000, 5000  # sessions
# At least so many times cheaper than the query; at most so many ns for each slot.
WARM = {FEW: (200, 5), SOME: (400, 5), MANY: (1000, 7)}
COLD = (40, 60)
GROWTH, DIFFERENCE = 5.5, 0.1
# Parsed and planned each time, as it is when a client sends it.
QUERY = f"EXECUTE $query${beside.CLASSIC}$query$"
READS = {FEW: 300, SOME: 30, MANY: 5}
TIMES = re.compile(r"pgleak injection: scans took (\d+) ns, with cold caches (\d+) ns")


class Server:
    """One server and the sessions on it."""

    def __init__(self, name, port, sessions):
        self.log = pathlib.Path(os.environ["PGHOST"], f"{name}.log")
        self.dsn = f"port={port}"
        observer = psycopg2.connect(self.dsn)
        observer.autocommit = True
        self.cursor = observer.cursor()
        self.cursor.execute(beside.SLOTS)
        self.slots = self.cursor.fetchone()[0]
        self.count = sessions
        self.has_leaks = False
        self.sessions = beside.connect_many(sessions, self.dsn)

    def leak(self):
        """1 % of the sessions leak."""
        for session in self.sessions[:self.count // 100]:
            session.cursor().execute("SELECT 1")
        time.sleep(2 * LIMIT)
        self.times()
        beside.wait_for(self.cursor, "SELECT count(*)::int FROM pgleak.leaks", self.count // 100)
        self.has_leaks = True

    def times(self):
        """Median ns of a scan with warm and with cold caches. The scanner sleeps before that and after it."""
        before = self.wait_for_times(1)
        self.cursor.execute("SELECT pgleak.scan()")
        return [float(ns) for ns in self.wait_for_times(len(before) + 1)[-1]]

    def wait_for_times(self, least):
        """What the scanner has logged, as soon as it is so much."""
        deadline = time.monotonic() + 60
        while len(found := TIMES.findall(self.log.read_text())) < least:
            assert time.monotonic() < deadline, "the scanner has not timed its scans"
            time.sleep(0.1)
        return found

    def close(self):
        for session in self.sessions:
            session.close()


def name(sessions, caches, leaks="1 % leak"):
    return f"a scan, {sessions} sessions, {leaks}, {caches} caches"


def measure(server):
    """Looks without leaks, then with some in turn with the query for them."""
    quiet = [server.times() for _ in range(REPETITIONS)]
    server.leak()
    pairs = [(server.times(), beside.read_us(server.cursor, QUERY, READS[server.count])) for _ in range(REPETITIONS)]
    scans, query = zip(*pairs)
    for i, (caches, (least, most)) in enumerate((("warm", WARM[server.count]), ("cold", COLD))):
        rows.add(name(server.count, caches, "none leaks"), "us", [scan[i] / 1000 for scan in quiet])
        ours = [scan[i] / 1000 for scan in scans]
        rows.add(name(server.count, caches), "us", ours, "the query in a warm session", query, f">= {least}x",
                 statistics.median(rows.ratios(ours, query)) >= least)
        ours = [scan[i] / server.slots for scan in scans]
        rows.add(f"{name(server.count, caches)}, for each of {server.slots} slots", "ns", ours, target=f"<= {most} ns",
                 met=statistics.median(ours) <= most)


def compare(server, other, what, target, is_met):
    """Looks of two servers in turn, with cold caches."""
    pairs = [(server.times()[1] / 1000, other.times()[1] / 1000) for _ in range(REPETITIONS)]
    ours, theirs = zip(*pairs)
    leaks = "1 % leak" if server.has_leaks else "none leaks"
    rows.add(name(server.count, "cold", leaks), "us", ours, what, theirs, target, is_met(statistics.median(rows.ratios(ours, theirs))))


def main():
    few, some, many, large = sys.argv[1:]
    with contextlib.closing(Server("scan_100", few, FEW)) as server:
        measure(server)
    with contextlib.closing(Server("scan_1000", some, SOME)) as server:
        with contextlib.closing(Server("scan_16kB", large, SOME)) as other:
            compare(server, other, "track_activity_query_size = 16kB", "within 10 %", lambda ratio: abs(ratio - 1) <= DIFFERENCE)
        measure(server)
        with contextlib.closing(Server("scan_5000", many, MANY)) as other:
            measure(other)
            compare(server, other, f"{MANY} sessions", f"<= {GROWTH}x", lambda ratio: ratio <= GROWTH)


if __name__ == "__main__":
    main()
