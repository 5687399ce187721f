# Node-pg's pool: a leak with its route, what terminate does not give back, and requests that take two connections.
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

    nesting = Child(scenario, "nested", ["node", os.path.join(APPS, "pool.mjs")], {"APPLICATION": "nested"})
    nesting.nest()
    scenario.pool_becomes("node-pg: requests that wait for a second connection of their pool are no lost ones", "nested",
                          "advice LIKE '3 of 3 connections have run nothing but BEGIN since %%; raise the pool size, or take no%%'")
    scenario.stop(nesting.program)


run(lambda: Scenario("node_pg"), body)
