# PgBouncer in transaction mode in front of two services: pgleak tells them apart by their application_name, and
#   suspects nothing where connections pass from one to the other.
# Called by: test/clients/run pools, with pgbouncer in PATH.
# Must never: listen on anything but a socket in the private directory.
# Needs: daemon:pgbouncer python3-psycopg2

import os

import psycopg2

from scenario import LOGS, Scenario, UnevenLoad, run

CONFIGURATION = """
[databases]
postgres = host={host} port={port} user={role} pool_size=6 min_pool_size=2
alone = host={host} port={port} dbname=postgres user={role} pool_size=6
[pgbouncer]
listen_addr =
listen_port = {front_port}
unix_socket_dir = {directory}
auth_type = any
pool_mode = transaction
server_idle_timeout = 3.8
server_lifetime = 7
"""


class Bouncer:
    def __init__(self, scenario):
        self.directory = os.path.join(LOGS, "pgbouncer")
        os.mkdir(self.directory)
        self.port = int(os.environ["PGPORT"]) + 1  # only in the name of the socket
        path = os.path.join(self.directory, "pgbouncer.ini")
        with open(path, "w") as file:
            file.write(CONFIGURATION.format(host=os.environ["PGHOST"], port=os.environ["PGPORT"], role=scenario.role,
                                            front_port=self.port, directory=self.directory))
        scenario.start("pgbouncer", ["pgbouncer", path])
        scenario.wait_for(lambda: os.path.exists(f"{self.directory}/.s.PGSQL.{self.port}"))

    def connect(self, application, database="postgres"):
        return psycopg2.connect(host=self.directory, port=self.port, dbname=database, user="anybody",
                                application_name=application)


def work(bouncer, application, database):
    """A request of a service without a pool of its own: that is what PgBouncer is for."""
    connection = bouncer.connect(application, database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(0.05)")
    connection.commit()
    connection.close()


def body(scenario):
    bouncer = Bouncer(scenario)
    loads = [UnevenLoad(lambda name=name, database=database: work(bouncer, name, database), 4)
             for name, database in (("orders", "postgres"), ("billing", "postgres"), ("shop", "alone"))]
    backends = set()
    most = scenario.most_suspects(19, lambda: backends.update(row[0] for row in scenario.ask_rows(
        "SELECT pid FROM pg_stat_activity WHERE usename = %s", scenario.role)))
    scenario.check(most.get("shop") == 0, "PgBouncer: a service under uneven load has no suspects", most)
    scenario.check(most.get("orders") == 0 and most.get("billing") == 0,
                   "PgBouncer: nor have two, with connections that pass between them", most)
    scenario.check(len(backends) > 6, "PgBouncer: though connections come and go", backends)
    scenario.check(scenario.ask("SELECT count(*) = 0 FROM pgleak.history WHERE role = %s", scenario.role),
                   "PgBouncer: nor are there episodes", scenario.report)

    # While all goes on, billing begins to leak, from a statement with a comment and from one without.
    leaked = []
    for invoice in range(1, 4):
        connection = bouncer.connect("billing")
        cursor = connection.cursor()
        comment = "/*route='/invoice'*/ " if invoice < 3 else ""
        if not comment:
            cursor.execute("SELECT set_config('pgleak.tags', %s, true)", ("route='%2Finvoice'",))
        cursor.execute(f"{comment}UPDATE stock SET quantity = 0 WHERE product = {invoice}")
        leaked.append(connection)
    scenario.has_episodes("PgBouncer: the leaks of one service are its own", "billing", 3, "tags->>'route' = '/invoice'")
    scenario.check(scenario.ask("SELECT count(*) = 0 FROM pgleak.open_transactions('orders') WHERE tags IS NOT NULL"),
                   "PgBouncer: what a client has SET LOCAL is not the next client's", scenario.report)
    scenario.check(scenario.count_episodes("orders") == 0, "PgBouncer: and none is the other's", scenario.report)
    scenario.pool_becomes("PgBouncer: whose verdict is leaking", "billing", "verdict = 'leaking' AND leaked = 3")
    scenario.check(scenario.pool("coalesce(leaked, 0) = 0 AND verdict <> 'leaking'", "orders") in (True, None),
                   "PgBouncer: while the other's is not", scenario.report)
    for load in loads:
        load.stop()
        scenario.check(load.done > 50 and not load.errors, "PgBouncer: the load went through", (load.done, load.errors[:3]))
    for connection in leaked:
        connection.close()
    scenario.has_episodes("PgBouncer: it rolls back what its clients leave", "billing", 3,
                          "outcome IN ('rolled back', 'disconnected')")


run(lambda: Scenario("pgbouncer_services"), body)
