# Node-pg's pool: a leak with its route, and what terminate does not give back.
# Called by: test/clients/run pools, with node-pg in NODE_PATH.
# Must never: use the pool in a way that applications do not.
# Needs: node-pg python3-psycopg2

import os

from scenario import APPS, Child, Scenario, run


def body(scenario):
    pool = Child(scenario, "terminated", ["node", os.path.join(APPS, "pool.mjs")], {"APPLICATION": "terminated"})
    scenario.terminate_gives_nothing_back("node-pg", "terminated", pool, 3)
    scenario.all_episodes_are("node-pg: the episodes name the route", "terminated", "tags->>'route' = '/cart'")
    scenario.all_episodes_are("node-pg: and hold the row that they changed", "terminated", "locks > 0 AND holds_xid IS NOT NULL")


run(lambda: Scenario("node_pg"), body)
