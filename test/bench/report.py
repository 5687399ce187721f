# How long pgleak.report() takes, and how large its page is, with 10,000 episodes in the period and 1,000,000 rows of history.
# Called by test/bench/run, with PGHOST and PGPORT of a throw-away cluster and the SQL that fills a day. Adds rows to the table.

import pathlib
import statistics
import sys
import time

import psycopg2

import rows

EPISODES, DAYS, READS = 10_000, 100, 11

# The same day again, as it was 1 to 99 days ago. What is still open now would have ended then.
COPY = """INSERT INTO pgleak.history (system_identifier, leak_id, pid, database, role, application_name, backend_start, xact_start,
        state, idle_since, idle_for, transaction_age, clock, detected_at, leak_after, limit_source, query, query_id, tags, blocked,
        blocked_for, impact, ended_at, duration, outcome, last_action, last_action_at, last_action_result)
    SELECT system_identifier + day, leak_id, pid, database, role, application_name, backend_start - d, xact_start - d,
        state, idle_since - d, idle_for, transaction_age, clock, detected_at - d, leak_after, limit_source, query, query_id, tags,
        blocked, blocked_for, impact, coalesce(ended_at, now()) - d, duration, coalesce(outcome, 'disconnected'), last_action,
        last_action_at - d, last_action_result
    FROM pgleak.history, generate_series(1, %s) AS day, make_interval(days => day) AS d"""


def timed_report(cursor, period):
    """Seconds until the whole page is at the client, and the page."""
    began = time.monotonic()
    cursor.execute("SELECT pgleak.report(%s)", (period,))
    page = cursor.fetchone()[0]
    return time.monotonic() - began, page


def main():
    connection = psycopg2.connect("")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8") % {"episodes": EPISODES})
    seconds, _ = zip(*(timed_report(cursor, "1 day") for _ in range(READS)))
    rows.add(f"report over {EPISODES} episodes, all there are", "ms", [s * 1000 for s in seconds], target="<= 2000 ms",
             met=statistics.median(seconds) <= 2)

    cursor.execute(COPY, (DAYS - 1,))
    cursor.execute("VACUUM (ANALYZE) pgleak.history")
    cursor.execute("SELECT count(*) FROM pgleak.history")
    total = cursor.fetchone()[0]
    seconds, pages = zip(*(timed_report(cursor, "1 day") for _ in range(READS)))
    rows.add(f"report over {EPISODES} episodes of {total}", "ms", [s * 1000 for s in seconds], target="<= 2000 ms",
             met=statistics.median(seconds) <= 2)
    size = len(pages[0].encode()) / 1000
    rows.add(f"report over {EPISODES} episodes: size", "kB", [size], target="< 2000 kB", met=size < 2000)

    second, page = timed_report(cursor, "1 year")
    rows.add(f"report over all {total} episodes", "ms", [second * 1000])
    rows.add(f"report over all {total} episodes: size", "kB", [len(page.encode()) / 1000], target="< 2000 kB",
             met=len(page.encode()) < 2_000_000)


main()
