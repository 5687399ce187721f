# FastAPI and SQLAlchemy with psycopg2: four ways to leak a session, each found, with the route and the line that did it.
# Called by: test/clients/run pools.
# Must never: expect more of the application than that it answers.
# Needs: python3-fastapi python3-uvicorn python3-sqlalchemy python3-psycopg2

from scenario import APPS, Scenario, call, repeated, run

UVICORN = ["/usr/bin/python3", "-m", "uvicorn", "--app-dir", APPS, "--fd", "{fd}", "--no-access-log", "shop_fastapi:app"]


def body(shop):
    name = "shop-leaks"
    server, url = shop.serve(name, UVICORN)
    shop.check(call(url + "/good")[0] == 200, "FastAPI: a route that closes its session answers")
    shop.check(call(url + "/forgotten")[0] == 200, "FastAPI: a route that forgets to close its session answers as well")
    shop.check(call(url + "/background", "POST")[0] == 200, "FastAPI: so does one that gives it to a background task")
    shop.check(call(url + "/error", "POST")[0] == 409, "FastAPI: an error is answered, without a rollback")

    def has(route, condition):
        return lambda: shop.count_episodes(name, f"tags->>'route' = '{route}' AND {condition}") == 1

    with repeated(lambda: call(url + "/global"), 0.3):
        shop.becomes("FastAPI: a forgotten close is an episode with its route",
                     has("/forgotten", "clock = 'idle' AND state = 'idle in transaction'"))
        shop.becomes("FastAPI: a background task with the request's session is one, with the locks that it holds",
                     has("/background", "clock = 'idle' AND locks > 0 AND holds_xid IS NOT NULL"))
        shop.becomes("FastAPI: an error path without rollback is one, in an aborted transaction",
                     has("/error", "clock = 'idle' AND state = 'idle in transaction (aborted)'"))
        shop.becomes("FastAPI: a global session in steady use is one, seen by the transaction clock alone",
                     has("/global", "clock = 'transaction'"))
    for function in ("forgotten", "background", "error", "use_global"):
        shop.check(shop.count_episodes(name, f"code ~ '^shop_fastapi.py:[0-9]+ {function}$'") == 1,
                   f"FastAPI: the line of {function}() is named", shop.report)
    shop.check(shop.count_episodes(name) == 4, "FastAPI: and there are no other episodes", shop.report)
    shop.check(shop.ask("SELECT array_agg(route ORDER BY route) = '{/background,/error,/forgotten,/global}'"
                        " FROM pgleak.offenders WHERE role = %s", shop.role),
               "FastAPI: pgleak.offenders names the four routes")
    shop.stop(server)
    shop.has_episodes("FastAPI: all of them end with the application", name, 4, "outcome = 'disconnected'")


run(lambda: Scenario("fastapi_leaks", transaction_leak_after="5s"), body)
