# FastAPI and SQLAlchemy under load: a pool that is too small is told apart from one that leaks.
# Called by: test/clients/run pools.
# Must never: make the load depend on the speed of the machine: what counts is that requests queue.
# Needs: python3-fastapi python3-uvicorn python3-sqlalchemy python3-psycopg2 wrk

import os

from scenario import APPS, Scenario, call, run

UVICORN = ["/usr/bin/python3", "-m", "uvicorn", "--app-dir", APPS, "--fd", "{fd}", "--no-access-log", "shop_fastapi:app"]
# 20 customers at a time, for ever.
WRK = ["wrk", "-t1", "-c20", "-d600s", "--timeout", "60s"]


def test_undersized(shop):
    name = "shop-small"
    server, url = shop.serve(name, UVICORN)
    load = shop.start("wrk", [*WRK, url + "/good"])
    shop.pool_becomes("load: a pool that is too small for it gets the verdict undersized", name, "verdict = 'undersized'")
    shop.check(shop.pool("connections = 5 AND capacity = 5 AND leaked = 0 AND exhausted_at IS NULL", name),
               "load: with its five connections and no leak", shop.report)
    shop.check(shop.pool("advice LIKE '%%none of them leaks; raise the pool size%%'", name),
               "load: and the advice to raise its size", shop.report)
    shop.check(shop.pool("suspects", name) == 0, "load: none of them is suspected", shop.report)
    shop.stop(load)
    shop.check(call(url + "/good")[0] == 200, "load: the application has been in order all the time")
    shop.check(shop.count_episodes(name) == 0, "load: there is not one episode", shop.report)
    shop.stop(server)


def test_leaking(shop):
    name = "shop-leaking"
    server, url = shop.serve(name, UVICORN, {"IMPATIENT": "yes"})
    shop.start("wrk", [*WRK, "-s", os.path.join(APPS, "mixed.lua"), url])
    shop.pool_becomes("load: the same load with one request in twelve that leaks gets the verdict leaking", name,
                      "verdict = 'leaking'")
    shop.pool_becomes("load: until the pool is exhausted, which has a time", name,
                      "leaked = 5 AND exhausted_at <= now()")
    shop.check(shop.pool("verdict = 'leaking' AND advice LIKE "
                         "'%%; fix shop_fastapi.py:%% forgotten (route /forgotten) before raising the pool size'",
                         name), "load: and the advice names the line and the route", shop.report)
    shop.check(call(url + "/good")[0] == 500, "load: no request gets through any more")
    shop.has_episodes("load: all episodes have the leaking route's tag", name, 5, "tags->>'route' = '/forgotten'")
    shop.stop(server)


def body(shop):
    test_undersized(shop)
    test_leaking(shop)


run(lambda: Scenario("fastapi_load"), body)
