# Statements of all shapes through every driver, with the companion and with a route that is hostile: the results are those
#   of the same driver without it, and the server sees the line.
# Called by: test/clients/run companion_python, with PGHOST and PGPORT of a throw-away cluster.
# Must never: know which drivers double a percent sign. That they need not be told apart is what is tested.

import asyncio
import io
import sys

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import sqlalchemy
from psycopg import sql as sql3
from psycopg2 import sql as sql2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import pgleak_client.asyncpg
import pgleak_client.psycopg
import pgleak_client.psycopg2
import pgleak_client.sqlalchemy
from checks import Checks, error_of, holds
from pgleak_client import callers, failures, set_route

DSN = "dbname=postgres user=postgres"
SEEN = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()"
ROUTES = ("/plain", "/100%/{id}/%s/%(x)s", "'; DROP TABLE numbers; --", "*/ ; SELECT 1/0; /*", "ä\\'\n\0")

# What applications write, and what a comment at the wrong place would break; with the parameters, None for none.
STATEMENTS = (
    ("SELECT 1", None),
    ("SELECT 1;", None),
    ("SELECT 1 -- to the end of the line", None),
    ("SELECT 1 -- with a semicolon;", None),
    ("SELECT 1 -- and a newline\n", None),
    ("SELECT 1 /* in a block */", None),
    ("SELECT '--' || ';'", None),
    ("SELECT $$a ; -- b$$", None),
    ("SELECT 'it''s 100%'", None),
    ("/*+ SeqScan(t) */ SELECT 1", None),
    ("WITH w AS (INSERT INTO numbers VALUES (-1) RETURNING n) SELECT n FROM w", None),
)
FAILING = ("SELECT 'never closed", "SELECT 1 /* never closed", "SELEC", "SELECT 1/0", "")


def compare(checks, name, plain, tagged):
    """The same with and without the companion: `plain` and `tagged` execute a statement and return the rows."""
    for route in ROUTES:
        set_route(route)
        for statement, parameters in STATEMENTS:
            expected, error = plain(statement, parameters), None
            try:
                found = tagged(statement, parameters)
            except Exception as problem:  # noqa: BLE001 - each driver has its own
                found, error = None, problem
            if found != expected or error is not None:
                checks.check(False, f"{name}: {statement!r} with the route {route!r}", repr(error or found))
    for statement in FAILING:
        expected, found = error_of(plain, statement, None), error_of(tagged, statement, None)
        if type(expected) is not type(found):
            checks.check(False, f"{name}: {statement!r} fails as it does without the companion", (expected, found))
    set_route("/orders/{id}")
    query = tagged(SEEN, None)[0][0]
    checks.check("/*code='test/clients/companion_python/statements.py:" in query and "route='/orders/{id}'" in query
                 and query.startswith(SEEN), f"{name}: statements of all shapes have their results, and the server sees the line",
                 query)


def rows_of(connection):
    """Executes on a DB-API connection, each statement in a transaction that is rolled back."""
    def execute(statement, parameters):
        cursor = connection.cursor()
        try:
            cursor.execute(statement) if parameters is None else cursor.execute(statement, parameters)
            return cursor.fetchall()
        finally:
            connection.rollback()
    return execute


def in_psycopg2(checks):
    plain, tagged = psycopg2.connect(DSN), psycopg2.connect(DSN)
    pgleak_client.psycopg2.install(tagged)
    compare(checks, "psycopg2", rows_of(plain), rows_of(tagged))
    set_route("/100%")
    execute = rows_of(tagged)
    checks.check(holds(lambda: execute("SELECT %s, '%%'", ("a",)) == [("a", "%")]
                       and execute("SELECT %(a)s, '%%'", {"a": 1}) == [(1, "%")]
                       and execute("SELECT '%%'", ()) == [("%",)] and execute("SELECT '%'", None) == [("%",)]),
                 "psycopg2: a route with a percent sign harms no parameters")
    cursor = tagged.cursor("server_side")
    cursor.execute("SELECT n FROM numbers WHERE n > %s ORDER BY n;", (0,))
    checks.check(cursor.fetchmany(2) == [(1,), (2,)], "psycopg2: server-side cursors")
    tagged.rollback()
    cursor = tagged.cursor()
    cursor.executemany("INSERT INTO numbers VALUES (%s)", [(1000,), (1001,)])
    psycopg2.extras.execute_values(cursor, "INSERT INTO numbers VALUES %s", [(1002,), (1003,)])
    psycopg2.extras.execute_batch(cursor, "INSERT INTO numbers VALUES (%s);", [(1004,), (1005,)])
    cursor.copy_expert("COPY numbers FROM STDIN", io.StringIO("1006\n1007\n"))
    cursor.execute(sql2.SQL("SELECT count(*) FROM {} WHERE n >= %s").format(sql2.Identifier("numbers")), (1000,))
    checks.check(cursor.fetchone() == (8,), "psycopg2: executemany, execute_values, execute_batch, COPY and composed SQL")
    cursor.execute("INSERT INTO numbers VALUES (2000); SELECT count(*) FROM numbers WHERE n = 2000")
    checks.check(cursor.fetchone() == (1,), "psycopg2: several statements in one")
    cursor.execute(b"SELECT 1")
    checks.check(cursor.fetchone() == (1,), "psycopg2: bytes")
    dictionary = tagged.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    dictionary.execute("SELECT 1 AS one")
    checks.check(dictionary.fetchone() == {"one": 1}, "psycopg2: a cursor class of the application's is left alone")
    tagged.rollback()


def in_psycopg3(checks):
    plain, tagged = psycopg.connect(DSN), psycopg.connect(DSN)
    pgleak_client.psycopg.install(tagged)
    compare(checks, "psycopg 3", rows_of(plain), rows_of(tagged))
    set_route("/100%")
    execute = rows_of(tagged)
    checks.check(holds(lambda: execute("SELECT %s::text, '%%'", ("a",)) == [("a", "%")]
                       and execute("SELECT '%%'", ()) == [("%",)] and execute("SELECT '%'", None) == [("%",)]),
                 "psycopg 3: a route with a percent sign harms no parameters")
    with tagged.cursor("server_side") as cursor:
        cursor.execute("SELECT n FROM numbers WHERE n > %s ORDER BY n;", (0,))
        checks.check(cursor.fetchmany(2) == [(1,), (2,)], "psycopg 3: server-side cursors")
    cursor = tagged.cursor()
    cursor.executemany("INSERT INTO numbers VALUES (%s)", [(1000,), (1001,)])
    with cursor.copy("COPY numbers FROM STDIN") as copy:
        copy.write("1002\n1003\n")
    cursor.execute(sql3.SQL("SELECT count(*) FROM {} WHERE n >= %s").format(sql3.Identifier("numbers")), (1000,))
    checks.check(cursor.fetchone() == (4,), "psycopg 3: executemany, COPY and composed SQL")
    checks.check(list(cursor.stream("SELECT generate_series(1, %s)", (2,))) == [(1,), (2,)], "psycopg 3: stream")
    cursor.execute("INSERT INTO numbers VALUES (2000); SELECT 1")
    tagged.rollback()
    for _ in range(8):
        tagged.execute("SELECT n FROM numbers WHERE n = %s", (1,))
    names = tagged.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT n FROM numbers WHERE n = $1 /*code=%'").fetchone()
    checks.check(names == (1,), "psycopg 3: a statement is prepared as before, after five times", names)
    tagged.rollback()


def in_asyncpg(checks):
    loop = asyncio.new_event_loop()
    plain, tagged = (loop.run_until_complete(module.connect(database="postgres", user="postgres"))
                     for module in (asyncpg, pgleak_client.asyncpg))

    def rows_with(connection):
        def execute(statement, parameters):
            async def fetch():
                transaction = connection.transaction()
                await transaction.start()
                try:
                    return [tuple(row) for row in await connection.fetch(statement, *(parameters or ()))]
                finally:
                    await transaction.rollback()
            return loop.run_until_complete(fetch())
        return execute

    compare(checks, "asyncpg", rows_with(plain), rows_with(tagged))

    async def others():
        await tagged.executemany("INSERT INTO numbers VALUES ($1)", [(3000,), (3001,)])
        await tagged.execute("INSERT INTO numbers VALUES (3002); INSERT INTO numbers VALUES (3003);")
        prepared = await tagged.prepare("SELECT n FROM numbers WHERE n > $1 ORDER BY n")
        found = [await tagged.fetchval("SELECT count(*) FROM numbers WHERE n >= 3000"), (await prepared.fetchrow(0))["n"],
                 await tagged.copy_from_query("SELECT 1 -- one\n", output=_nothing)]
        async with tagged.transaction():
            async for row in tagged.cursor("SELECT n FROM numbers WHERE n > $1 ORDER BY n", 1):
                found.append(row["n"])
                break
        await tagged.execute("DELETE FROM numbers WHERE n >= 3000")
        for _ in range(10):
            await tagged.fetch("SELECT n FROM numbers WHERE n = $1", 1)
        found.append(await tagged.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT n FROM numbers WHERE n = $1 /*code=%'"))
        return found

    found = loop.run_until_complete(others())
    checks.check(found == [4, 1, "COPY 1", 2, 1], "asyncpg: all of its methods; one prepared statement for each line", found)


async def _nothing(data):
    """Where COPY writes to."""


def in_sqlalchemy(checks):
    for driver in ("psycopg2", "asyncpg"):
        name = f"SQLAlchemy with {driver}"
        make = create_async_engine if driver == "asyncpg" else sqlalchemy.create_engine
        engines = [make(f"postgresql+{driver}://postgres@/postgres") for _ in range(2)]
        pgleak_client.sqlalchemy.install(engines[1])
        pgleak_client.sqlalchemy.install(engines[1])
        loop = asyncio.new_event_loop()

        def rows_with(engine):
            def work(connection, statement, parameters):
                try:
                    return [tuple(row) for row in connection.exec_driver_sql(statement, parameters)]
                finally:
                    connection.rollback() if hasattr(connection, "rollback") else None

            def execute(statement, parameters):
                if driver == "psycopg2":
                    with engine.connect() as connection:
                        return work(connection, statement, parameters)

                async def run():
                    async with engine.connect() as connection:
                        return await connection.run_sync(work, statement, parameters)
                return loop.run_until_complete(run())
            return execute

        def doubled(execute):
            """SQLAlchemy always lets the driver interpolate."""
            return lambda statement, parameters: execute(statement.replace("%", "%%"), parameters)

        compare(checks, name, doubled(rows_with(engines[0])), doubled(rows_with(engines[1])))
        set_route("/100%")

        def others(connection):
            plain = connection.execution_options(no_parameters=True)
            found = [plain.exec_driver_sql("SELECT '%'").scalar(),
                     connection.execute(text("SELECT '%' || :value"), {"value": "%"}).scalar()]
            connection.execute(text("INSERT INTO numbers VALUES (:n)"), [{"n": 4000}, {"n": 4001}])
            table = sqlalchemy.table("numbers", sqlalchemy.column("n", sqlalchemy.Integer))
            connection.execute(table.insert(), [{"n": 4002}, {"n": 4003}])
            connection.execute(table.insert().values([{"n": 4004}, {"n": 4005}]))
            found.append(connection.execute(text("SELECT count(*) FROM numbers WHERE n >= 4000")).scalar())
            connection.execute(text("DELETE FROM numbers WHERE n >= 4000"))
            return found

        if driver == "psycopg2":
            with engines[1].begin() as connection:
                found = others(connection)
                streamed = connection.execution_options(stream_results=True).execute(text("SELECT n FROM numbers ORDER BY n"))
                found.append(streamed.fetchone()[0])
        else:
            async def run():
                async with engines[1].begin() as connection:
                    found = await connection.run_sync(others)
                    streamed = await connection.stream(text("SELECT n FROM numbers ORDER BY n"))
                    return [*found, (await streamed.fetchone())[0]]
            found = loop.run_until_complete(run())
        checks.check(found == ["%", "%%", 6, 1], f"{name}: parameters, percent signs, many rows, streamed results", found)


def main():
    checks = Checks()
    checks.admin.cursor().execute("CREATE TABLE numbers AS SELECT generate_series(1, 10) AS n")
    warnings = []
    failures.logger.warning = lambda *arguments, **options: warnings.append(arguments)
    for test in (in_psycopg2, in_psycopg3, in_asyncpg, in_sqlalchemy):
        test(checks)
    checks.check(not warnings, "the companion has failed nowhere", warnings)
    checks.check(callers.call_site().startswith("test/clients/companion_python/statements.py"), "paths are those of the project")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
