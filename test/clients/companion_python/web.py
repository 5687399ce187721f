# The companion in web frameworks: the template of the route, the trace, the pool's page; Django's transactions.
# Called by: test/clients/run companion_python, with PGHOST and PGPORT of a throw-away cluster where a session that is idle in
#   a transaction for a second is a leak.
# Must never: let a framework's own error pass for the companion's.

import os
import sys
import threading

import django
import sqlalchemy
from django.conf import settings
from fastapi import BackgroundTasks, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import pgleak_client.asgi
import pgleak_client.sqlalchemy
from checks import Checks
from pgleak_client import checkouts, failures

SEEN = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()"
TRACE = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"
PLACE = "test/clients/companion_python/web.py"


def engine_named(name):
    engine = sqlalchemy.create_engine(f"postgresql+psycopg2://postgres@/postgres?application_name={name}", pool_size=2)
    pgleak_client.sqlalchemy.install(engine)
    return engine


def seen(engine):
    with engine.connect() as connection:
        return connection.execute(text(SEEN)).scalar()


def in_fastapi(checks):
    engine = engine_named("fastapi")
    inner, outer, kept = FastAPI(), FastAPI(), []

    @outer.get("/orders/{order}")
    def orders(order: int):
        return seen(engine)

    @outer.get("/async/{order}")
    async def order_async(order: int):
        return seen(engine)

    @outer.get("/background")
    def background(tasks: BackgroundTasks):
        tasks.add_task(lambda: kept.append(seen(engine)))

    @outer.get("/leak/{order}")
    def leak(order: int):
        kept.append(connection := engine.connect())
        connection.execute(text("SELECT 1"))

    @inner.get("/items/{item}")
    def items(item: int):
        return seen(engine)

    outer.mount("/shop", inner)
    outer.add_middleware(pgleak_client.asgi.Middleware, pool=engine, dsn="dbname=postgres user=postgres", page="/debug/pool")
    client = TestClient(outer)

    def query(path, headers=None):
        return client.get(path, headers=headers).json()

    query_seen = query("/orders/4711")
    checks.check("route='/orders/{order}'" in query_seen and "4711" not in query_seen and f"code='{PLACE}:" in query_seen,
                 "FastAPI: a statement has the template of its route", query_seen)
    checks.check("route='/async/{order}'" in query("/async/1"), "FastAPI: in a coroutine, too")
    checks.check("route='/shop/items/{item}'" in query("/shop/items/1"), "FastAPI: and in what is mounted, whole")
    client.get("/background")
    checks.check("route='/background'" in kept.pop(), "FastAPI: a background task has the route of its request")
    query_seen = query("/orders/1", {"traceparent": TRACE})
    checks.check(f"traceparent='{TRACE}'" in query_seen, "FastAPI: and the trace of its headers", query_seen)
    checks.check("traceparent" not in query("/orders/1", {"traceparent": "'*/"}), "FastAPI: but nothing else that is there")
    checks.check("route" not in seen(engine), "FastAPI: outside of a request there is no route")
    client.get("/leak/1")
    checks.wait_until("SELECT count(*) = 1 FROM pgleak.leaks WHERE application_name = 'fastapi'")
    page = client.get("/debug/pool").json()
    leak_shown = page.get("leaks", [{}])[0]
    checks.check([page.get(key) for key in ("checked_out", "checked_in", "overflow", "size")] == [1, 0, 0, 2],
                 "the pool's page has the counts of the pool", page)
    checks.check(leak_shown.get("tags", {}).get("route") == "/leak/{order}" and PLACE in leak_shown["checkout"]["at"]
                 and any("engine.connect()" in line for line in leak_shown["checkout"]["stack"]),
                 "and the open leaks with the stack of their checkouts", page)
    connection = kept.pop()
    connection.close()
    page = client.get("/debug/pool").json()
    checks.check(page["checked_out"] == 0 and page["leaks"] == [], "and none when they are over", page)
    silent = TestClient(pgleak_client.asgi.Middleware(FastAPI()))
    checks.check(silent.get("/debug/pool").status_code == 404, "without a path for it there is no page")


def in_starlette(checks):
    engine = engine_named("starlette")

    def items(request):
        return PlainTextResponse(seen(engine))

    async def health(request):
        return PlainTextResponse(seen(engine))

    routes = [Route("/health", health), Mount("/shop", routes=[Route("/items/{item}", items)])]
    client = TestClient(pgleak_client.asgi.Middleware(Starlette(routes=routes)))
    checks.check("route='/health'" in client.get("/health").text, "Starlette: a statement has the template of its route")
    query = client.get("/shop/items/1").text
    checks.check("route='/shop/items/{item}'" in query, "Starlette: and in what is mounted, whole", query)


def configure_django():
    settings.configure(
        SECRET_KEY="none", ROOT_URLCONF=__name__, USE_TZ=True, ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=["pgleak_client.django.Companion"], MIDDLEWARE=["pgleak_client.django.Middleware"],
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres",
                               "HOST": os.environ["PGHOST"], "ATOMIC_REQUESTS": True}})
    django.setup()


def in_django(checks):
    configure_django()
    from django.db import connection, transaction
    from django.http import HttpResponse
    from django.test import Client
    from django.urls import path

    answered = threading.Event()

    def ask(statement=SEEN, parameters=None):
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()[0]

    def order(request, product):
        return HttpResponse(ask())

    def pay(request, product):
        with transaction.atomic():
            ask("SELECT 1")  # pay
            answered.wait(60)
        return HttpResponse("paid")

    def meddle(execute, sql, params, many, context):
        return execute(sql, params, many, context)

    def wrapped(request):
        with connection.execute_wrapper(meddle):
            return HttpResponse(ask())

    global urlpatterns
    urlpatterns = [path("order/<int:product>", order), path("pay/<int:product>", pay), path("wrapped", wrapped)]
    client = Client()
    query = client.get("/order/7").content.decode()
    checks.check("route='/order/<int:product>'" in query and f"code='{PLACE}:" in query and " in_django.ask'" in query,
                 "Django: a statement has its line and the template of its route", query)
    query = client.get("/wrapped").content.decode()
    checks.check("meddle" not in query and " in_django.ask'" in query, "Django: an execute_wrapper of the application's is not blamed",
                 query)
    query = client.get("/order/7", HTTP_TRACEPARENT=TRACE).content.decode()
    checks.check("traceparent" not in query, "Django: without being asked for it, there is no trace", query)
    checks.check(ask("SELECT %s || '%%'", ["a%"]) == "a%%" and ask("SELECT '%'") == "%", "Django: percent signs with and without parameters")
    checks.check(ask("SHOW application_name") not in ("", None), "Django: sessions have a name")
    connection.close()

    visitor = threading.Thread(target=client.get, args=("/pay/1",))
    visitor.start()
    checks.check(checks.wait_until("SELECT count(*) = 1 FROM pgleak.leaks WHERE tags->>'route' = '/pay/<int:product>'"),
                 "Django: a slow request is a leak with its route")
    pid = checks.ask("SELECT pid FROM pgleak.leaks WHERE tags->>'route' = '/pay/<int:product>'")
    lines = checkouts.of(pid).stack.lines()
    checks.check(any(line.endswith(" in_django.pay") for line in lines), "Django: the stack that began its transaction is known", lines)
    answered.set()
    visitor.join()


def main():
    checks = Checks()
    warnings = []
    failures.logger.warning = lambda *arguments, **options: warnings.append((arguments, sys.exc_info()))
    for test in (in_fastapi, in_starlette, in_django):
        test(checks)
    checks.check(not warnings, "the companion has failed nowhere", warnings)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
