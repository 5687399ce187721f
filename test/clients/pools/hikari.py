# HikariCP with pgjdbc: a leak with its code, what terminate does not give back, that its housekeeping raises no suspicion,
#   and what pgleak says of pools in trouble that is no lost connection.
# Called by: test/clients/run pools.
# Must never: use the pool in a way that applications do not.
# Needs: libhikaricp-java libpostgresql-jdbc-java libslf4j-java java-compiler python3-psycopg2

import os
import secrets
import threading

import psycopg2

from scenario import APPS, Child, Scenario, run

CLASSPATH = ":".join(f"/usr/share/java/{jar}.jar" for jar in ("HikariCP", "postgresql", "slf4j-api", "slf4j-simple"))
JAVA = ["java", "-Xmx128m", "-Dcom.zaxxer.hikari.housekeeping.periodMs=500", "-cp", CLASSPATH,
        os.path.join(APPS, "HikariPool.java")]


def make_pool(scenario, application, size, **env):
    return Child(scenario, application, JAVA,
                 {"APPLICATION": application, "POOL_SIZE": str(size), "PASSWORD": scenario.password, **env})


def test_nested(scenario):
    pool = make_pool(scenario, "nested", 4)
    pool.nest()
    scenario.pool_becomes("HikariCP: a pool that waits for itself is told from a leak", "nested",
                          "advice LIKE '4 of 4 connections have run nothing but BEGIN since %%, all within a second: each seems"
                          " to wait for a second connection of the same pool; raise the pool size, or take no second%%'")
    scenario.stop(pool.program)


def test_init_query(scenario):
    """connectionInitSql without autocommit: each connection that nobody has used yet is in a transaction."""
    pool = make_pool(scenario, "tested", 4, INIT_SQL="SELECT 1")
    scenario.pool_becomes("HikariCP: free connections that connectionInitSql has left in a transaction are no lost ones", "tested",
                          "idle_in_transaction = 4 AND exhausted_at IS NULL AND advice LIKE '%%after the same SELECT 1, which reads no"
                          " table: the pool''s own test query%%'")
    scenario.check(pool.in_use() == 0 and pool.works(), "HikariCP: for they are free")
    scenario.stop(pool.program)


def test_blocked(scenario):
    """Somebody looks at a table in a GUI, a migration queues behind that, and all requests behind the migration."""
    pool = make_pool(scenario, "waiting", 5)
    gui = psycopg2.connect("dbname=postgres user=postgres application_name=DBeaver")
    migration = psycopg2.connect("dbname=postgres user=postgres application_name=migration")
    gui.cursor().execute("SELECT FROM stock")
    migrate = threading.Thread(target=lambda: migration.cursor().execute("ALTER TABLE stock ADD COLUMN extra integer"))
    migrate.start()
    scenario.wait_until("SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND pid = %s", migration.info.backend_pid)
    pool.read()
    pid = gui.info.backend_pid
    scenario.pool_becomes("HikariCP: a pool that waits for somebody else is blocked, and the advice names the session at the root",
                          "waiting", f"verdict = 'blocked' AND waiting >= 4 AND advice LIKE '_ of 5 wait behind pid {pid} (DBeaver,"
                          f" idle in transaction for %%s, holds AccessShareLock on public.stock); cancel it: SELECT"
                          f" pgleak.cancel({pid})'")
    scenario.ask("SELECT pgleak.cancel(%s)", pid)
    migrate.join()
    migration.rollback()
    scenario.pool_becomes("HikariCP: it goes on when that is cancelled", "waiting", "verdict = 'ok' AND waiting = 0")
    scenario.check(pool.failures() == 0, "HikariCP: and no request has failed")
    scenario.stop(pool.program)
    for connection in gui, migration:
        connection.close()


def body(scenario):
    # pgjdbc knows no unix sockets.
    scenario.password = secrets.token_hex(12)
    scenario.admin.cursor().execute(f"ALTER ROLE {scenario.role} PASSWORD %s", (scenario.password,))

    pool = make_pool(scenario, "terminated", 3)
    scenario.terminate_gives_nothing_back("HikariCP", "terminated", pool, 3)
    scenario.all_episodes_are("HikariCP: the episodes name controller and action", "terminated",
                              "tags = '{\"action\": \"show\", \"controller\": \"cart\"}'")
    scenario.check(scenario.ask("SELECT array_agg(DISTINCT route) = '{cart#show}' FROM pgleak.offenders WHERE role = %s",
                                scenario.role), "HikariCP: and so does pgleak.offenders", scenario.report)
    with open(pool.program.log) as log:
        scenario.check("Connection leak detection triggered" in log.read(),
                       "HikariCP: its own leakDetectionThreshold says the same, with the stack of the checkout")
    scenario.stop(pool.program)

    test_nested(scenario)
    test_init_query(scenario)
    test_blocked(scenario)

    pool = make_pool(scenario, "healthy", 8)
    pool.hurry()
    pool.load()
    backends = set()
    most = scenario.most_suspects(19, lambda: backends.update(row[0] for row in scenario.ask_rows(
        "SELECT pid FROM pg_stat_activity WHERE usename = %s", scenario.role)))
    scenario.check(most.get("healthy") == 0,
                   "HikariCP: minimumIdle, idleTimeout and a short maxLifetime under uneven load raise no suspicion", most)
    scenario.check(len(backends) > 8 and pool.requests() > 50 and pool.failures() == 0, "HikariCP: though connections come and go",
                   lambda: (len(backends), pool.requests(), pool.failures()))
    scenario.check(scenario.count_episodes("healthy") == 0, "HikariCP: nor is there an episode", scenario.report)


run(lambda: Scenario("hikari"), body)
