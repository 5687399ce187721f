# How much CPU time pgleak's workers take, beside others that watch sessions.
# Called by: test/bench/run, as `cpu.py SESSIONS`, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.
#
# All processes are measured in the same windows, but for the client that polls: its windows come in turn with these, as it
# would fill the caches that the others use.

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import time
import urllib.request

import psycopg2

import beside
import rows

PAIRS, WINDOW = 5, 4  # seconds
LARGE_SESSIONS = 5000
SLOW_WINDOWS, SLOW_WINDOW = 3, 20
UNIT = "% of a core"


class Watched:
    """The processes whose CPU time is measured, by what pg_stat_activity calls them."""

    def __init__(self, cursor):
        cursor.execute("SELECT backend_type, pid FROM pg_stat_activity WHERE backend_type <> 'client backend'")
        self.pids = dict(cursor.fetchall())

    def has(self, name):
        return name in self.pids

    def shares(self, seconds, pids):
        """CPU time over a window, in per cent of a core, for each list of process ids."""
        started, before = time.monotonic(), [beside.cpu_ms(each) for each in pids]
        time.sleep(seconds)
        after, elapsed = [beside.cpu_ms(each) for each in pids], time.monotonic() - started
        return [(now - then) / elapsed / 10 for then, now in zip(before, after)]


def polling_pid(cursor):
    cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'polling'")
    return cursor.fetchone()[0]


def measure_fast(cursor, watched, sessions):
    """At an interval of 10 ms."""
    names = [name for name in ("pgleak scanner", "pg_wait_sampling collector", "empty loop") if watched.has(name)]
    found = {name: [] for name in names}
    polled = []
    for _ in range(PAIRS):
        for name, share in zip(names, watched.shares(WINDOW, [[watched.pids[name]] for name in names])):
            found[name].append(share)
        if sessions < LARGE_SESSIONS:
            with beside.polling():
                polled += watched.shares(WINDOW, [[polling_pid(cursor)]])
    ours = found["pgleak scanner"]
    measure = f"scanner's CPU, {sessions} sessions, 1 % leak, 10 ms"
    most = 3.5 if sessions == LARGE_SESSIONS else 1
    rows.add(measure, UNIT, ours, target=f"<= {most} %", met=statistics.median(ours) <= most)
    if sessions == LARGE_SESSIONS:
        return
    compare(measure, ours, "pg_wait_sampling's collector", found.get("pg_wait_sampling collector"), 3)
    compare(measure, ours, "pg_stat_activity polled", polled, 40)
    compare(measure, ours, "an empty loop", found["empty loop"], 0.4)


def compare(measure, ours, other, theirs, least):
    if not theirs:
        rows.skip(measure, other)
        return
    rows.add(measure, UNIT, ours, other, theirs, f">= {least}x", statistics.median(rows.ratios(ours, theirs)) >= least)


@contextlib.contextmanager
def exporter(program):
    """The exporter, and the address to scrape."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name = f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=postgres dbname=postgres sslmode=disable"
    with subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL,
                          env={**os.environ, "DATA_SOURCE_NAME": name + " application_name=exporter"}) as process:
        try:
            yield process.pid, f"http://127.0.0.1:{port}/metrics"
        finally:
            process.terminate()


def scrape_share(cursor, program):
    """CPU of the exporter and of its sessions, scraped each second, in per cent of a core."""
    with exporter(program) as (pid, address):
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                if "pg_up 1" in urllib.request.urlopen(address).read().decode():
                    break
            assert time.monotonic() < deadline, "the exporter does not answer"
            time.sleep(0.2)
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'exporter'")
        pids = [pid, *(row[0] for row in cursor.fetchall())]
        shares = []
        for _ in range(SLOW_WINDOWS):
            started, before = time.monotonic(), beside.cpu_ms(pids)
            for _ in range(5):
                urllib.request.urlopen(address).read()
                time.sleep(max(0, 1 - (time.monotonic() - started) % 1))
            shares.append((beside.cpu_ms(pids) - before) / (time.monotonic() - started) / 10)
        return shares


def measure_slow(cursor, watched, leaking, program):
    """With the settings that pgleak comes with, and no leak."""
    for session in leaking:
        session.rollback()
    for name in ("pgleak.scan_interval", "pgleak.idle_leak_after"):
        cursor.execute("SELECT boot_val || coalesce(unit, '') FROM pg_settings WHERE name = %s", (name,))
        cursor.execute(f"ALTER SYSTEM SET {name} = '{cursor.fetchone()[0]}'")
    cursor.execute("SELECT pg_reload_conf()")
    beside.wait_for(cursor, "SELECT current_setting('pgleak.scan_interval')", "1s")
    beside.wait_for(cursor, "SELECT count(*) FROM pgleak.leaks", 0)
    beside.wait_for(cursor, "SELECT events_queued = events_written FROM pgleak.stats", True)
    pids = [watched.pids["pgleak scanner"], watched.pids["pgleak recorder"]]
    ours = [watched.shares(SLOW_WINDOW, [pids])[0] for _ in range(SLOW_WINDOWS)]
    measure = "scanner's and recorder's CPU, 1000 idle sessions, defaults"
    rows.add(measure, UNIT, ours, target="<= 0.03 %", met=statistics.median(ours) <= 0.03)
    if program:
        rows.add(measure, UNIT, ours, "postgres_exporter each second", scrape_share(cursor, program))
    else:
        rows.skip(measure, "prometheus-postgres-exporter")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", type=int)
    parser.add_argument("exporter", nargs="?")
    arguments = parser.parse_args()
    observer = psycopg2.connect("")
    observer.autocommit = True
    cursor = observer.cursor()
    sessions = beside.connect_many(arguments.sessions)
    leaking = sessions[:arguments.sessions // 100]
    for session in leaking:
        session.cursor().execute("SELECT 1")
    beside.wait_for(cursor, "SELECT count(*)::int FROM pgleak.leaks", len(leaking))
    watched = Watched(cursor)
    measure_fast(cursor, watched, arguments.sessions)
    if arguments.sessions < LARGE_SESSIONS:
        measure_slow(cursor, watched, leaking, arguments.exporter)


if __name__ == "__main__":
    main()
