# What it costs to read pgleak.horizon: 1,000 sessions, of which 10 hold something, 20 slots, 20 prepared transactions.
# Called by: test/bench/run, with PGHOST and PGPORT of a throw-away cluster. Adds a row to the table.

import statistics

import psycopg2

import beside
import rows

SESSIONS, HOLDERS, SLOTS, PREPARED, PAIRS, READS = 1000, 10, 20, 20, 11, 20
MOST_US = 200
VIEW = "SELECT * FROM pgleak.horizon"
# What one would ask instead.
CLASSIC = """SELECT pid, greatest(age(backend_xid), age(backend_xmin)) AS age FROM pg_stat_activity
              WHERE backend_xid IS NOT NULL OR backend_xmin IS NOT NULL
             UNION ALL SELECT active_pid, greatest(age(xmin), age(catalog_xmin)) FROM pg_replication_slots
             UNION ALL SELECT NULL, age(transaction) FROM pg_prepared_xacts"""


def main():
    observer = psycopg2.connect("")
    observer.autocommit = True
    cursor = observer.cursor()
    sessions = beside.connect_many(SESSIONS)
    for session in sessions[:HOLDERS]:
        session.cursor().execute("SELECT pg_current_xact_id()")
    for number, session in enumerate(sessions[-PREPARED:]):
        session.cursor().execute("SELECT pg_current_xact_id()")
        session.cursor().execute(f"PREPARE TRANSACTION 'number {number}'")
    for number in range(SLOTS):
        cursor.execute(f"SELECT pg_create_physical_replication_slot('number_{number}', true)")
    beside.wait_for(cursor, "SELECT count(*)::int FROM pgleak.horizon", HOLDERS + SLOTS + PREPARED)

    beside.read_us(cursor, VIEW, READS)
    beside.read_us(cursor, CLASSIC, READS)
    pairs = [(beside.read_us(cursor, VIEW, READS), beside.read_us(cursor, CLASSIC, READS)) for _ in range(PAIRS)]
    ours, theirs = zip(*pairs)
    rows.add(f"reading pgleak.horizon, {SESSIONS} sessions, {SLOTS} slots, {PREPARED} prepared transactions", "us", ours,
             "pg_stat_activity and the others", theirs, f"<= {MOST_US} us", statistics.median(ours) <= MOST_US)


main()
