# What pgleak says of pools in trouble that is no lost connection: psycopg_pool whose requests take two connections,
#   SQLAlchemy with a test query when a connection comes back, requests that wait for somebody else's lock, that are slow
#   and commit, and that work elsewhere within their transactions.
# Called by: test/clients/run pools.
# Must never: share a pool between the parts.
# Needs: python3-psycopg python3-psycopg-pool python3-sqlalchemy python3-psycopg2

import contextlib
import logging
import threading
import time

import psycopg2
import psycopg_pool
import sqlalchemy
from sqlalchemy import text

from scenario import Scenario, run


def make_pool(scenario, application, size, **options):
    pool = psycopg_pool.ConnectionPool(f"dbname=postgres user={scenario.role} application_name={application}",
                                       min_size=size, max_size=size, **options)
    pool.wait()
    return pool


@contextlib.contextmanager
def requests(count, request):
    """`count` threads that do the same again and again in the meantime."""
    is_over = threading.Event()

    def work():
        while not is_over.is_set():
            request()
            is_over.wait(0.05)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(Scenario.patience)


def test_nested(scenario):
    """Each request holds a connection and asks the same pool for a second one."""
    pool = make_pool(scenario, "nested", 4, kwargs={"autocommit": True})
    together = threading.Barrier(4)
    refused = []

    def request():
        with pool.connection() as outer:
            outer.execute("BEGIN")
            together.wait()
            try:
                with pool.connection(timeout=12) as inner:
                    inner.execute("SELECT 1")
            except psycopg_pool.PoolTimeout as error:
                refused.append(error)
            outer.execute("ROLLBACK")

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    scenario.pool_becomes("psycopg_pool: a pool that waits for itself is told from a leak", "nested",
                          "advice LIKE '4 of 4 connections have run nothing but BEGIN since %%, all within a second: each seems"
                          " to wait for a second connection of the same pool; raise the pool size, or take no second%%'")
    for thread in threads:
        thread.join()
    scenario.check(len(refused) > 0, "psycopg_pool: which it was", refused)
    pool.close()


def test_query_on_return(scenario):
    """A listener tests each connection after the pool has rolled it back. The driver opens a transaction for that."""
    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://{scenario.role}@/postgres", pool_size=5, max_overflow=0,
                                      connect_args={"application_name": "tested"})

    @sqlalchemy.event.listens_for(engine, "checkin")
    def test(connection, _):
        connection.cursor().execute("SELECT 1")

    def request():
        with engine.begin() as connection:
            connection.execute(text("/*route='/cart'*/ UPDATE stock SET quantity = quantity WHERE product = 1"))

    held = [engine.connect() for _ in range(5)]  # so that the pool opens all of them
    for connection in held:
        connection.close()
    verdicts, advice, until = set(), set(), time.monotonic() + 15
    while time.monotonic() < until:
        request()
        row = scenario.ask_rows("SELECT verdict, exhausted_at, advice FROM pgleak.pools WHERE role = %s"
                                " AND application_name = 'tested'", scenario.role)
        if row:
            verdicts.add((row[0][0], row[0][1]))
            advice.add(row[0][2])
        time.sleep(0.5)
    scenario.check(verdicts == {("ok", None), ("leak", None)},
                   "SQLAlchemy: free connections that a test query has left in a transaction are not lost", verdicts)
    scenario.check(any(line and "after the same SELECT 1, which reads no table: the pool's own test query" in line
                       for line in advice), "SQLAlchemy: the advice speaks of the test query", advice)
    scenario.check(not any(line and "before raising the pool size" in line for line in advice),
                   "SQLAlchemy: and never of code to fix", advice)
    engine.dispose()


def test_blocked(scenario):
    """Somebody looks at a table in a GUI, a migration queues behind that, and all requests behind the migration."""
    pool = make_pool(scenario, "waiting", 5)
    gui = psycopg2.connect("dbname=postgres user=postgres application_name=DBeaver")
    migration = psycopg2.connect("dbname=postgres user=postgres application_name=migration")

    def request():
        with pool.connection() as connection:
            connection.execute("SELECT quantity FROM stock WHERE product = %s", (1,))

    with requests(5, request):
        gui.cursor().execute("SELECT FROM stock")
        migrate = threading.Thread(target=lambda: migration.cursor().execute("ALTER TABLE stock ADD COLUMN extra integer"))
        migrate.start()
        pid = gui.info.backend_pid
        scenario.pool_becomes("psycopg_pool: a pool that waits for somebody else is blocked", "waiting",
                              "verdict = 'blocked' AND waiting >= 4")
        scenario.pool_becomes("psycopg_pool: the advice names the session at the root", "waiting",
                              f"advice LIKE '_ of 5 wait behind pid {pid} (DBeaver, idle in transaction for %%s, holds"
                              f" AccessShareLock on public.stock); cancel it: SELECT pgleak.cancel({pid})'")
        until = time.monotonic() + 5
        verdicts = set()
        while time.monotonic() < until:
            verdicts.add(scenario.pool("verdict", "waiting"))
            time.sleep(0.2)
        scenario.check(verdicts == {"blocked"}, "psycopg_pool: it is not undersized, however long that lasts", verdicts)
        scenario.ask("SELECT pgleak.cancel(%s)", pid)
        migrate.join()
        migration.rollback()
        scenario.pool_becomes("psycopg_pool: it goes on when that is cancelled", "waiting", "verdict = 'ok' AND waiting = 0")
    for connection in gui, migration:
        connection.close()
    pool.close()


def test_slow(scenario):
    pool = make_pool(scenario, "slow", 4)

    def request():
        with pool.connection() as connection:
            connection.execute("/*route='/chart'*/ SELECT quantity FROM stock WHERE product = %s", (1,))
            time.sleep(3)  # draws

    with requests(2, request):
        scenario.pool_becomes("psycopg_pool: requests that are slow and commit are no lost connections", "slow",
                              "advice LIKE '%% earlier leaks committed: slow requests, not lost connections; shorten the"
                              " transactions of the route /chart' AND verdict = 'leak' AND exhausted_at IS NULL")
    pool.close()


def test_elsewhere(scenario):
    pool = make_pool(scenario, "elsewhere", 4)

    def request():
        with pool.connection() as connection:
            connection.execute("SELECT quantity FROM stock WHERE product = %s", (1,))
            time.sleep(0.7)  # calls somebody else

    with requests(12, request):
        scenario.pool_becomes("psycopg_pool: a pool that works outside of the database is told to shorten its transactions",
                              "elsewhere", "verdict = 'undersized' AND advice LIKE '%% are idle in transaction, for 0._ s on"
                              " average: the application works outside of the database within its transactions; shorten%%'"
                              " OR verdict = 'undersized' AND advice LIKE '%% are idle in transaction, for 0.__ s on average:%%'")
    pool.close()


def body(scenario):
    logging.disable()  # of what the pool has to say on requests that it refuses
    test_nested(scenario)
    test_query_on_return(scenario)
    test_blocked(scenario)
    test_slow(scenario)
    test_elsewhere(scenario)


run(lambda: Scenario("pool_verdicts"), body)
