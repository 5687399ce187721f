# What it takes to record 1,000 leaks that are detected at the same moment. What is measured: README.md here.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds rows to the table.

import statistics
import time

import psycopg2

import beside
import rows

SESSIONS, BURSTS = 1000, 5

# Waits until all events are committed; the longest scan meanwhile, and the time since the first leak was detected.
WATCH = """DO $$
    DECLARE scan_time bigint := 0; stats record;
    BEGIN
        LOOP
            SELECT * INTO stats FROM pgleak.stats;
            scan_time := greatest(scan_time, stats.last_scan_us);
            EXIT WHEN stats.events_queued >= %(events)s AND stats.events_written = stats.events_queued;
            IF clock_timestamp() > now() + interval '1 min' THEN RAISE 'only % of % events are written', stats.events_written, %(events)s; END IF;
            PERFORM pg_sleep(0.001);
        END LOOP;
        PERFORM set_config('bench.done', clock_timestamp()::text, false), set_config('bench.scan', scan_time::text, false);
    END $$"""

SETUP = """
CREATE TABLE one_by_one (LIKE pgleak.history INCLUDING ALL);
CREATE PROCEDURE record_one_by_one() LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
    FOREACH id IN ARRAY ARRAY(SELECT leak_id FROM pgleak.history WHERE ended_at IS NULL) LOOP
        INSERT INTO one_by_one SELECT * FROM pgleak.history WHERE leak_id = id
            AND system_identifier = (SELECT system_identifier FROM pg_control_system());
        COMMIT;
    END LOOP;
END $$"""


class Burst:
    def __init__(self):
        observer = psycopg2.connect("")
        observer.autocommit = True
        self.cursor = observer.cursor()
        self.cursor.execute(SETUP)
        self.sessions = beside.connect_many(SESSIONS)
        self.own_pid = observer.info.backend_pid
        self.recorder = self.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak recorder'")

    def ask(self, query):
        self.cursor.execute(query)
        return self.cursor.fetchone()[0]

    def set_limit(self, limit):
        self.cursor.execute(f"ALTER SYSTEM SET pgleak.idle_leak_after = '{limit}'")
        self.cursor.execute("SELECT pg_reload_conf()")

    def record(self):
        """The bursts as pgleak records it: durable and elapsed ms, recorder's CPU ms, WAL bytes for each, longest scan in ms."""
        for session in self.sessions:
            session.cursor().execute("SELECT 1")
        time.sleep(0.2)  # longer than the limit to come
        events = self.ask("SELECT events_queued FROM pgleak.stats") + SESSIONS
        position, cpu = self.ask("SELECT pg_current_wal_lsn()"), beside.cpu_ms([self.recorder])
        self.set_limit("100ms")
        self.cursor.execute(WATCH.replace("%(events)s", str(events)))
        cpu = beside.cpu_ms([self.recorder]) - cpu
        wal = float(self.ask(f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{position}')")) / SESSIONS
        found = self.ask("SELECT count(*) FROM pgleak.history WHERE ended_at IS NULL")
        assert found == SESSIONS, f"{found} of {SESSIONS} leaks are in the history"
        durable = self.ask("""SELECT extract(epoch FROM current_setting('bench.done')::timestamptz - min(detected_at))::float8 * 1000
                                FROM pgleak.history WHERE ended_at IS NULL""")
        return durable, cpu, wal, self.ask("SELECT current_setting('bench.scan')::float8 / 1000")

    def record_one_by_one(self):
        """The same rows, one transaction each: elapsed ms, CPU ms."""
        cpu, started = beside.cpu_ms([self.own_pid]), time.monotonic()
        self.cursor.execute("CALL record_one_by_one()")
        result = (time.monotonic() - started) * 1000, beside.cpu_ms([self.own_pid]) - cpu
        count = self.ask("SELECT count(*) FROM one_by_one")
        assert count == SESSIONS, f"{count} of {SESSIONS} rows are copied"
        self.cursor.execute("TRUNCATE one_by_one")
        return result

    def end(self):
        self.set_limit("1h")
        for session in self.sessions:
            session.rollback()
        beside.wait_for(self.cursor, "SELECT count(*) FROM pgleak.history WHERE ended_at IS NULL", 0)

    def run(self):
        found = self.record() + self.record_one_by_one()
        self.end()
        return found


def main():
    burst = Burst()
    burst.run()
    durable, cpu, wal, scan, single_elapsed, single_cpu = zip(*(burst.run() for _ in range(BURSTS)))
    name = f"{SESSIONS} leak at once: "
    dropped = burst.ask("SELECT events_dropped FROM pgleak.stats")
    assert dropped == 0, f"{dropped} events are dropped"
    rows.add(name + "all durable after", "ms", durable, target="<= 60 ms", met=statistics.median(durable) <= 60)
    for kind, ours, theirs in (("CPU time to record", cpu, single_cpu), ("time to record", durable, single_elapsed)):
        met = statistics.median(rows.ratios(ours, theirs)) >= 5
        rows.add(name + kind, "ms", ours, "a transaction for each", theirs, ">= 5x, CPU or time", met)
    rows.add(name + "WAL for each", "bytes", wal, target="<= 600 bytes", met=statistics.median(wal) <= 600)
    rows.add(name + "longest scan", "ms", scan, target="<= 5 ms", met=statistics.median(scan) <= 5)


if __name__ == "__main__":
    main()
