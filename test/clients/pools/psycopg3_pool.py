# Psycopg's own pool: a leak with its route, and what terminate does not give back.
# Called by: test/clients/run pools.
# Must never: use the pool in a way that applications do not.
# Needs: python3-psycopg python3-psycopg-pool python3-psycopg2

import logging

import psycopg_pool

from checks import error_of
from scenario import Scenario, run


class Pool:
    def __init__(self, scenario, application):
        self.pool = psycopg_pool.ConnectionPool(
            f"dbname=postgres user={scenario.role} application_name={application}", min_size=3, max_size=3, timeout=0.5)
        self.pool.wait()
        self.leaked = []

    def leak(self):
        connection = self.pool.getconn()
        connection.execute("/*route='/cart'*/ SELECT quantity FROM stock WHERE product = %s", (1,))
        self.leaked.append(connection)

    def is_refused(self):
        return isinstance(error_of(self.pool.getconn), psycopg_pool.PoolTimeout)

    def in_use(self):
        stats = self.pool.get_stats()
        return stats["pool_size"] - stats["pool_available"]

    def cure(self):
        for connection in self.leaked:
            self.pool.putconn(connection)

    def works(self):
        with self.pool.connection(timeout=60) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)


def body(scenario):
    logging.disable()  # of what the pool has to say on connections that are gone
    pool = Pool(scenario, "terminated")
    scenario.terminate_gives_nothing_back("psycopg_pool", "terminated", pool, 3)
    scenario.all_episodes_are("psycopg_pool: the episodes name the route", "terminated", "tags->>'route' = '/cart'")
    scenario.all_episodes_are("psycopg_pool: a SELECT with parameters keeps VACUUM back", "terminated",
                              "impact = 'horizon' AND holds_xmin IS NOT NULL")
    pool.pool.close()


run(lambda: Scenario("psycopg3_pool"), body)
