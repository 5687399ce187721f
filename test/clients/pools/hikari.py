# HikariCP with pgjdbc: a leak with its code, what terminate does not give back, and that its housekeeping raises
#   no suspicion.
# Called by: test/clients/run pools.
# Must never: use the pool in a way that applications do not.
# Needs: libhikaricp-java libpostgresql-jdbc-java libslf4j-java java-compiler python3-psycopg2

import os
import secrets

from scenario import APPS, Child, Scenario, run

CLASSPATH = ":".join(f"/usr/share/java/{jar}.jar" for jar in ("HikariCP", "postgresql", "slf4j-api", "slf4j-simple"))
JAVA = ["java", "-Xmx128m", "-Dcom.zaxxer.hikari.housekeeping.periodMs=500", "-cp", CLASSPATH,
        os.path.join(APPS, "HikariPool.java")]


def make_pool(scenario, application, size):
    return Child(scenario, application, JAVA,
                 {"APPLICATION": application, "POOL_SIZE": str(size), "PASSWORD": scenario.password})


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
