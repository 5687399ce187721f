# What applications notice of an action through the Python drivers psycopg2, psycopg 3 and asyncpg, SQLAlchemy's
#   session, and two connection pools.
# Called by: test/clients/run, with PGHOST and PGPORT of a throw-away cluster that drivers.sql has set up. Prints
#   "ok - ..." and "not ok - ..."; exit status is the truth.
# Must never: use a driver in a way that applications do not, or wait for a fixed time and hope.

import asyncio
import logging
import sys
import threading
import time

import asyncpg
import psycopg
import psycopg2
import sqlalchemy
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from checks import Checks, error_of

try:
    import psycopg_pool
except ImportError:
    psycopg_pool = None

INSERT = "INSERT INTO orders (note) VALUES ('{}')"
TAKE = "UPDATE stock SET quantity = quantity - 1 WHERE product = {}"


class Psycopg2:
    name = "psycopg2"
    library = psycopg2

    def __init__(self, role):
        self.connection = self.library.connect(f"dbname=postgres user={role}")

    def pid(self):
        return self.connection.info.backend_pid

    def execute(self, statement):
        self.connection.cursor().execute(statement)

    def commit(self):
        self.connection.commit()

    def rollback(self):
        self.connection.rollback()

    def close(self):
        self.connection.close()

    @staticmethod
    def sqlstate(error):
        return getattr(error, "pgcode", None)


class Psycopg3(Psycopg2):
    name = "psycopg 3"
    library = psycopg

    @staticmethod
    def sqlstate(error):
        return getattr(error, "sqlstate", None)


class Asyncpg:
    """Its transaction objects, as `async with connection.transaction()` uses them."""

    name = "asyncpg"

    def __init__(self, role):
        self.loop = asyncio.new_event_loop()
        self.connection = self.run(asyncpg.connect(user=role, database="postgres"))
        self.transaction = None

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def pid(self):
        return self.connection.get_server_pid()

    def execute(self, statement):
        if self.transaction is None:
            self.transaction = self.connection.transaction()
            self.run(self.transaction.start())
        self.run(self.connection.fetch(statement))

    def commit(self):
        transaction, self.transaction = self.transaction, None
        self.run(transaction.commit())

    def rollback(self):
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            self.run(transaction.rollback())

    def close(self):
        self.run(self.connection.close())
        self.loop.close()

    sqlstate = staticmethod(Psycopg3.sqlstate)


class SqlAlchemy:
    name = "SQLAlchemy " + sqlalchemy.__version__.rpartition(".")[0]

    def __init__(self, role):
        self.engine = sqlalchemy.create_engine(f"postgresql+psycopg2://{role}@/postgres", pool_size=1, max_overflow=0)
        self.session = Session(self.engine)

    def pid(self):
        return self.session.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar()

    def execute(self, statement):
        self.session.execute(sqlalchemy.text(statement))

    def commit(self):
        self.session.commit()

    def rollback(self):
        self.session.rollback()

    def close(self):
        self.session.close()
        self.engine.dispose()

    @staticmethod
    def sqlstate(error):
        return Psycopg2.sqlstate(getattr(error, "orig", error))


DRIVERS = (Psycopg2, Psycopg3, Asyncpg, SqlAlchemy)


class DriverChecks(Checks):
    def is_aborted(self, pid):
        return self.wait_until("SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = %s"
                               " AND state = 'idle in transaction (aborted)'", pid)

    def has_order(self, note):
        return self.ask("SELECT count(*) FROM orders WHERE note = %s", note) == 1


def leak(checks, driver, role, note):
    """A client that inserts and then keeps silent, until pgleak has rolled it back in place."""
    client = driver(role)
    pid = client.pid()
    client.rollback()
    client.execute(INSERT.format(note))
    if role == "by_hand":
        checks.check(checks.ask("SELECT pgleak.cancel(%s)", pid), f"{note}: pgleak.cancel() says that it is done")
    checks.check(checks.is_aborted(pid), f"{note}: is rolled back in place", "is not in an aborted transaction")
    return client, pid


def test_cancel(checks, driver, role, way, has_statement):
    """A leak is cancelled; the client goes on with another statement or straight with COMMIT."""
    note = f"{driver.name}, cancelled {way}, then {'a statement' if has_statement else 'COMMIT'}"
    client, pid = leak(checks, driver, role, note)
    if has_statement:
        error = error_of(client.execute, "SELECT 1")
        checks.check(client.sqlstate(error) == "25P02", f"{note}: the statement fails with 25P02", repr(error))
    error = error_of(client.commit)
    checks.check(client.sqlstate(error) == "40000", f"{note}: COMMIT fails with 40000", repr(error))
    checks.check("rolled back by pgleak: it was idle for" in str(error), f"{note}: and says who and why", repr(error))
    checks.check(checks.wait_until("SELECT state = 'idle' FROM pg_stat_activity WHERE pid = %s", pid),
                 f"{note}: the block is over")
    checks.check(not checks.has_order(note), f"{note}: the row is not there")

    again = f"{note}: again"
    error = error_of(client.rollback) or error_of(client.execute, INSERT.format(again)) or error_of(client.commit)
    checks.check(error is None and checks.has_order(again), f"{note}: after rollback it works again", repr(error))
    checks.check(client.pid() == pid, f"{note}: on the same connection")
    client.close()


def test_terminate(checks, driver, role, way):
    """A leak is terminated; the client is told why."""
    note = f"{driver.name}, terminated {way}"
    client = driver(role)
    pid = client.pid()
    client.rollback()
    client.execute(INSERT.format(note))
    if role == "by_hand":
        checks.check(checks.ask("SELECT pgleak.terminate(%s)", pid), f"{note}: pgleak.terminate() says that it is done")
    gone = checks.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s", pid)
    checks.check(gone, f"{note}: the session ends", "is still there")
    error = error_of(client.execute, "SELECT 1")
    # psycopg 3 has the whole text, but no SQLSTATE for a connection that was lost.
    checks.check("terminating connection due to pgleak: it was idle for" in str(error),
                 f"{note}: the next statement fails and says who and why", repr(error))
    checks.check(not checks.has_order(note), f"{note}: the row is not there")


class SqlAlchemyPool:
    name = "SQLAlchemy's QueuePool"

    def __init__(self):
        self.pool = QueuePool(lambda: psycopg2.connect("dbname=postgres user=shop"), pool_size=5, max_overflow=0)

    def take(self):
        return self.pool.connect()

    def give_back(self, connection):
        connection.close()

    def pid_of(self, connection):
        return connection.dbapi_connection.info.backend_pid

    def close(self):
        self.pool.dispose()


class PsycopgPool:
    name = "psycopg_pool"

    def __init__(self):
        self.pool = psycopg_pool.ConnectionPool("dbname=postgres user=shop", min_size=5, max_size=5)
        self.pool.wait()

    def take(self):
        return self.pool.getconn()

    def give_back(self, connection):
        self.pool.putconn(connection)

    def pid_of(self, connection):
        return connection.info.backend_pid

    def close(self):
        self.pool.close()


def take_product(pool, product):
    """A request: takes a connection, changes a row, commits, gives the connection back."""
    connection = pool.take()
    try:
        connection.cursor().execute(TAKE.format(product))
        connection.commit()
    finally:
        pool.give_back(connection)


def run_requests(pool, product, count):
    """Runs requests side by side; returns when each was done, and what went wrong."""
    done, errors = [], []

    def request():
        error = error_of(take_product, pool, product)
        done.append(time.monotonic())
        if error is not None:
            errors.append(repr(error))

    threads = [threading.Thread(target=request) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done, errors


def test_pool(checks, make_pool, product):
    """One request keeps its connection and with it a row lock, on which all others wait."""
    pool = make_pool()
    kept = pool.take()
    kept.cursor().execute(TAKE.format(product))
    leaked_at = time.monotonic()
    done, errors = run_requests(pool, product, 4)
    waited = [moment - leaked_at for moment in done]
    checks.check(not errors, f"{pool.name}: no request fails", errors)
    checks.check(max(waited) <= 3, f"{pool.name}: requests behind a leak cancelled after 2 s proceed within 3 s",
                 f"waited {waited}")
    checks.check(min(waited) >= 1.9, f"{pool.name}: and not before", f"waited {waited}")
    error = error_of(kept.commit)
    state = Psycopg2.sqlstate(error) or Psycopg3.sqlstate(error)
    checks.check(state == "40000", f"{pool.name}: the leaking request's COMMIT fails with 40000", repr(error))
    pool.give_back(kept)

    # Another one gives its connection back without ever noticing.
    kept = pool.take()
    pid = pool.pid_of(kept)
    kept.cursor().execute(TAKE.format(product))
    checks.check(checks.is_aborted(pid), f"{pool.name}: a second leak is cancelled")
    pool.give_back(kept)
    connections = [pool.take() for _ in range(5)]
    checks.check(pid in [pool.pid_of(connection) for connection in connections],
                 f"{pool.name}: given back, the connection stays in the pool")
    for connection in connections:
        pool.give_back(connection)
    _, errors = run_requests(pool, product, 20)
    checks.check(not errors, f"{pool.name}: and every connection works", errors)
    left = checks.ask("SELECT quantity FROM stock WHERE product = %s", product)
    checks.check(left == 100 - 4 - 20, f"{pool.name}: nothing that leaked was committed", f"{left} left")
    pool.close()


def test_many(checks, count):
    """An incident: everybody leaks in the same moment. None may stand in another one's way."""
    what = f"{count} sessions leak at the same moment"
    gate = psycopg2.connect("dbname=postgres user=postgres")
    gate.cursor().execute("SELECT pg_advisory_lock(1)")
    clients = [psycopg2.connect("dbname=postgres user=by_limit") for _ in range(count)]
    through_the_gate = "INSERT INTO orders (note) SELECT 'many' FROM pg_advisory_lock_shared(1)"
    threads = [threading.Thread(target=client.cursor().execute, args=(through_the_gate,)) for client in clients]
    for thread in threads:
        thread.start()
    checks.wait_until("SELECT count(*) = %s FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", count)
    failed_before = checks.ask("SELECT cancels_failed FROM pgleak.stats")
    gate.close()
    for thread in threads:
        thread.join()
    leaked_at = time.monotonic()
    pids = [client.info.backend_pid for client in clients]
    checks.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY (%s) AND state = 'idle in transaction'",
                      pids)
    late = time.monotonic() - leaked_at - 1
    checks.check(late < 0.5, f"{what}: all are rolled back within half a second of their limit", f"after {late:.3f} s")
    failed = checks.ask("SELECT cancels_failed FROM pgleak.stats") - failed_before
    checks.check(failed == 0, f"{what}: each at the first attempt", f"{failed} attempts failed")
    for client in clients:
        client.close()


def main():
    checks = DriverChecks()
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # warns of the connection that is given back on purpose
    for driver in DRIVERS:
        for role, way in (("by_hand", "by hand"), ("by_limit", "by its limit")):
            for has_statement in (True, False):
                test_cancel(checks, driver, role, way, has_statement)
    test_terminate(checks, Psycopg3, "by_hand", "by hand")
    test_terminate(checks, Psycopg3, "ended_by_limit", "by its limit")
    test_pool(checks, SqlAlchemyPool, 1)
    if psycopg_pool is None:
        print("# psycopg_pool is skipped: it is not installed")
    else:
        test_pool(checks, PsycopgPool, 2)
    test_many(checks, 30)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
