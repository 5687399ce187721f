# Leaks through the pool of each driver: pgleak.leaks names file and line, the watch logs the stack of the checkout, and gives
#   the place in the pool back after a terminate.
# Called by: test/clients/run companion_python, with PGHOST and PGPORT of a throw-away cluster where a session that is idle in
#   a transaction for a second is a leak.
# Must never: let the garbage collector end a leak.

import asyncio
import contextlib
import gc
import json
import logging
import sys
import threading
import time

import psycopg
import psycopg2.pool
import psycopg_pool
import sqlalchemy
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import pgleak_client.asyncpg
import pgleak_client.psycopg
import pgleak_client.psycopg2
import pgleak_client.sqlalchemy
from checks import Checks, error_of, holds
from pgleak_client import asgi, checkouts

DSN = "dbname=postgres user=postgres"
READ = "SELECT n FROM numbers WHERE n = 1"
OPTIONS = {"min_size": 2, "max_size": 2, "timeout": 0.5, "kwargs": {"application_name": "psycopg_pool"}}
# Each file is a part of the project whose paths the companion shows.
PLACE = "test/clients/companion_python/leaks.py"


def line_of(mark):
    """The place of the line that ends with a mark."""
    with open(__file__) as file:
        return f"{PLACE}:{next(number for number, line in enumerate(file, 1) if line.rstrip().endswith('# ' + mark))}"


class Lines(logging.Handler):
    """What the companion logs."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())

    def has(self, *parts):
        return any(all(part in line for part in parts) for line in list(self.texts))


class Loop:
    """An event loop in a thread of its own, as in a server."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(60)


LOOP = Loop()


class Alchemy:
    name = "SQLAlchemy"
    lost = exc.PendingRollbackError

    def __init__(self):
        self.pool = sqlalchemy.create_engine(f"postgresql+psycopg2://postgres@/postgres?application_name={self.name}", pool_size=2,
                                             max_overflow=0, pool_timeout=0.5)
        pgleak_client.sqlalchemy.install(self.pool)

    def leak(self):
        session = Session(self.pool)
        session.execute(text(READ))  # SQLAlchemy
        return session

    def use(self, session):
        session.execute(text(READ))

    def put(self, session):
        session.rollback()
        session.close()

    def close(self):
        """Where a pool's tasks would complain at the end."""

    def works(self):
        with Session(self.pool) as first, Session(self.pool) as second:
            return [session.execute(text(READ)).scalar() for session in (first, second)] == [1, 1]


class AlchemyAsync(Alchemy):
    name = "SQLAlchemy with asyncpg"

    def __init__(self):
        self.pool = create_async_engine("postgresql+asyncpg://postgres@/postgres", pool_size=2, max_overflow=0, pool_timeout=0.5,
                                        connect_args={"server_settings": {"application_name": self.name}})
        pgleak_client.sqlalchemy.install(self.pool)

    def leak(self):
        async def leak():
            session = AsyncSession(self.pool)
            await session.execute(text(READ))  # SQLAlchemy with asyncpg
            return session
        return LOOP.run(leak())

    def use(self, session):
        LOOP.run(session.execute(text(READ)))

    def put(self, session):
        LOOP.run(session.rollback())
        LOOP.run(session.close())

    def works(self):
        async def both():
            async with AsyncSession(self.pool) as first, AsyncSession(self.pool) as second:
                return [(await session.execute(text(READ))).scalar() for session in (first, second)] == [1, 1]
        return LOOP.run(both())


class Psycopg3:
    close = Alchemy.close
    name = "psycopg_pool"
    lost = psycopg.OperationalError

    def __init__(self):
        self.pool = psycopg_pool.ConnectionPool(DSN, **OPTIONS)
        pgleak_client.psycopg.install(self.pool)
        self.pool.wait()

    def leak(self):
        connection = self.pool.getconn()
        connection.execute(READ)  # psycopg_pool
        return connection

    def use(self, connection):
        connection.execute(READ)

    def put(self, connection):
        self.pool.putconn(connection)

    def works(self):
        with self.pool.connection(timeout=30) as first, self.pool.connection(timeout=30) as second:
            return [connection.execute(READ).fetchone()[0] for connection in (first, second)] == [1, 1]


class Psycopg3Async(Psycopg3):
    name = "psycopg_pool with asyncio"

    def __init__(self):
        async def make():
            pool = psycopg_pool.AsyncConnectionPool(DSN, **{**OPTIONS, "kwargs": {"application_name": self.name}})
            pgleak_client.psycopg.install(pool)
            await pool.wait()
            return pool
        self.pool = LOOP.run(make())

    def leak(self):
        async def leak():
            connection = await self.pool.getconn()
            await connection.execute(READ)  # psycopg_pool with asyncio
            return connection
        return LOOP.run(leak())

    def use(self, connection):
        LOOP.run(connection.execute(READ))

    def put(self, connection):
        LOOP.run(self.pool.putconn(connection))

    def close(self):
        LOOP.run(self.pool.close())

    def works(self):
        async def both():
            async with self.pool.connection(timeout=30) as first, self.pool.connection(timeout=30) as second:
                return [(await (await connection.execute(READ)).fetchone())[0] for connection in (first, second)] == [1, 1]
        return LOOP.run(both())


class Psycopg2(Psycopg3):
    name = "psycopg2.pool"
    lost = psycopg2.InterfaceError

    def __init__(self):
        self.pool = psycopg2.pool.ThreadedConnectionPool(2, 2, DSN, application_name=self.name)
        pgleak_client.psycopg2.install(self.pool)

    def leak(self):
        connection = self.pool.getconn()
        connection.cursor().execute(READ)  # psycopg2.pool
        return connection

    def use(self, connection):
        connection.cursor().execute(READ)

    def works(self):
        connections = [self.pool.getconn() for _ in range(2)]
        for connection in connections:
            connection.cursor().execute(READ)
            self.pool.putconn(connection)
        return True


class Asyncpg:
    close = Alchemy.close
    name = "asyncpg"
    lost = pgleak_client.asyncpg.asyncpg.InterfaceError

    def __init__(self):
        self.pool = LOOP.run(self.make())

    async def make(self):
        return await pgleak_client.asyncpg.create_pool(database="postgres", user="postgres", min_size=2, max_size=2,
                                                       server_settings={"application_name": self.name})

    def leak(self):
        async def leak():
            connection = await self.pool.acquire()
            await connection.transaction().start()
            await connection.fetch(READ)  # asyncpg
            return connection
        return LOOP.run(leak())

    def use(self, connection):
        LOOP.run(connection.fetch(READ))

    def put(self, connection):
        LOOP.run(self.pool.release(connection))

    def works(self):
        async def both():
            async with self.pool.acquire() as first, self.pool.acquire() as second:
                return [await connection.fetchval(READ) for connection in (first, second)] == [1, 1]
        return LOOP.run(both())


CLIENTS = (Alchemy, AlchemyAsync, Psycopg3, Psycopg3Async, Psycopg2, Asyncpg)


def test_client(checks, lines, make):
    client = make()
    name = client.name
    place = line_of(name)
    kept = client.leak()
    checks.check(asgi.pool_counts(client.pool).get("checked_out") in (1, None), f"{name}: one connection is taken")
    leaking = "SELECT count(*) = 1 FROM pgleak.leaks WHERE application_name = %s"
    checks.check(checks.wait_until(leaking, name), f"{name}: is a leak")
    code = checks.ask("SELECT code FROM pgleak.leaks WHERE application_name = %s", name)
    checks.check(holds(lambda: code.startswith(place + " ") and code.endswith("leak")), f"{name}: pgleak.leaks names the line", code)
    checks.check(checks.wait_for(lambda: lines.has("leak ", f"({name})", "impact=", f'File "{PLACE}"', ".leak\n")),
                 f"{name}: the watch logs the stack of the checkout", "\n".join(lines.texts))
    pid = checks.ask("SELECT pid FROM pgleak.leaks WHERE application_name = %s", name)
    page = json.loads(json.dumps(LOOP.run(asgi.pool_page(client.pool, DSN)), default=str))
    checks.check([leak["checkout"]["stack"] for leak in page["leaks"] if leak["pid"] == pid and leak["checkout"]["at"]],
                 f"{name}: the pool's page shows it", page)
    checks.check(checks.ask("SELECT pgleak.terminate(%s)", pid), f"{name}: is terminated")
    if make is Asyncpg:
        checks.check(checks.wait_for(lambda: checkouts.of(pid) is None), f"{name}: needs no help, its pool notices")
    else:
        checks.check(checks.wait_for(lambda: lines.has("its place in the pool is free again", place.partition(":")[0])
                                     and checkouts.of(pid) is None), f"{name}: the watch gives the place back", lines.texts)
    checks.check(holds(client.works), f"{name}: all places of the pool work again, though nobody has returned that one")
    error = error_of(client.use, kept)
    checks.check(isinstance(error, client.lost), f"{name}: who still uses it gets an error of the driver's", repr(error))
    error = error_of(client.put, kept)
    checks.check(error is None, f"{name}: and may still return it", repr(error))
    checks.check(holds(client.works) and not [pid for pid in checkouts.pids() if checkouts.of(pid).stack.site() == place],
                 f"{name}: after which nothing is left of it")
    client.close()
    lines.texts.clear()


def test_others(checks):
    """Leaks that are no forgotten SELECT."""
    with psycopg.connect(DSN, application_name="stalled") as connection:
        pgleak_client.psycopg.install(connection)
        with connection.cursor().copy("COPY numbers FROM STDIN") as copy:  # a stalled COPY
            checks.check(checks.wait_until("SELECT count(*) = 1 FROM pgleak.leaks WHERE application_name = 'stalled' AND state = 'active'"
                                           " AND code LIKE %s", line_of("a stalled COPY") + " %"),
                         "a COPY whose client has nothing to say is named by its line")
            copy.write("1\n")
        connection.rollback()
        connection.execute("BEGIN")
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT 1 / (n - n) FROM numbers")  # an aborted transaction
        checks.check(checks.wait_until("SELECT count(*) = 1 FROM pgleak.leaks WHERE application_name = 'stalled' AND state = "
                                       "'idle in transaction (aborted)' AND code LIKE %s",
                                       line_of("an aborted transaction") + " %"),
                     "and so is an aborted transaction, by the statement that failed")
    engine = sqlalchemy.create_engine("postgresql+psycopg2://postgres@/postgres", poolclass=sqlalchemy.pool.NullPool)
    pgleak_client.sqlalchemy.install(engine)
    with engine.connect() as connection:
        checks.check(connection.execute(text("SHOW application_name")).scalar() not in ("", None),
                     "a session without a name gets the project's")
    engine = sqlalchemy.create_engine("postgresql+psycopg2://postgres@/postgres?application_name=own")
    pgleak_client.sqlalchemy.install(engine, application_name="not this")
    with engine.connect() as connection:
        checks.check(connection.execute(text("SHOW application_name")).scalar() == "own", "one that has a name keeps it")


def test_garbage(checks):
    """The companion keeps nothing alive."""
    engine = sqlalchemy.create_engine("postgresql+psycopg2://postgres@/postgres", pool_size=1, max_overflow=0, pool_timeout=0.5)
    pgleak_client.sqlalchemy.install(engine)
    connection = engine.connect()
    connection.execute(text(READ))
    del connection
    gc.collect()  # SQLAlchemy 2 has a cycle there
    checks.check(error_of(lambda: engine.connect().close()) is None, "a connection that is dropped is collected as before")
    checks.check(engine.pool.checkedout() == 0 and not checkouts.pids(), "and no longer counts as taken", checkouts.pids())


def test_reconnect(checks, lines):
    """The watch outlives its connection, and says what it has missed."""
    client = Psycopg2()
    client.pool = psycopg2.pool.ThreadedConnectionPool(1, 1, DSN, application_name="late", options="-c pgleak.idle_leak_after=100ms")
    pgleak_client.psycopg2.install(client.pool)
    checks.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgleak_client'")
    checks.check(checks.wait_for(lambda: lines.has("has no connection")), "the watch says that its connection is gone", lines.texts)
    kept = client.leak()  # before it connects again, after a second
    checks.check(checks.wait_for(lambda: lines.has("leak ", "(late)", "impact=")), "it connects again and logs what is open",
                 lines.texts)
    client.put(kept)
    with pgleak_client.watch("host=/nowhere dbname=none") as lost:
        time.sleep(0.1)
        began = time.monotonic()
    checks.check(time.monotonic() - began < 2 and not lost._thread.is_alive(), "a watch without a server ends when it is told to")


def test_forged(checks, lines):
    """Anybody may NOTIFY."""
    lines.texts.clear()
    client = Psycopg2()
    kept = client.leak()
    for payload in ("", "no JSON", "[]", '{"pid": "x"}', json.dumps({"event": "ended", "outcome": "terminated", "leak_id": 1,
                                                                     "pid": kept.info.backend_pid})):
        checks.admin.cursor().execute("SELECT pg_notify('pgleak', %s)", (payload,))
    time.sleep(1)
    checks.check(error_of(client.use, kept) is None, "a forged notification ends no connection")
    client.put(kept)


def main():
    checks = Checks()
    checks.admin.cursor().execute("CREATE TABLE IF NOT EXISTS numbers AS SELECT generate_series(1, 10) AS n")
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    lines = Lines()
    logging.getLogger("pgleak_client").addHandler(lines)
    test_garbage(checks)
    with pgleak_client.watch(DSN, reclaim=True) as watch:
        for make in CLIENTS:
            test_client(checks, lines, make)
        test_reconnect(checks, lines)
        test_forged(checks, lines)
    checks.check(not watch._thread.is_alive(), "the watch ends when it is closed")
    for driver, dsn in (("psycopg", "postgresql+any://postgres@/postgres"), ("asyncpg", "postgresql://postgres@/postgres"),
                        ("asyncpg", DSN)):
        lines.texts.clear()
        with pgleak_client.watch(dsn, driver=driver):
            client = type("Other", (Psycopg2,), {"name": "by " + driver})()
            kept = client.leak()
            checks.check(checks.wait_for(lambda: lines.has("leak ", f"(by {driver})", "impact=")), f"the watch works with {driver}",
                         lines.texts)
            client.put(kept)
    test_others(checks)
    checks.check(not lines.has("failed; the application is not affected"), "the companion has failed nowhere", lines.texts)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
