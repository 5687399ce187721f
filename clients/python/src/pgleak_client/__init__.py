"""Companion of pgleak, the PostgreSQL extension that finds session leaks.

It tells the server which line of the application sent a statement, remembers where each connection was taken, and logs that
stack when pgleak reports a leak. One call for each driver:

    pgleak_client.sqlalchemy.install(engine)        pgleak_client.asyncpg.create_pool(...)
    pgleak_client.psycopg.install(pool)             pgleak_client.django.Middleware in MIDDLEWARE
    pgleak_client.psycopg2.install(pool)            pgleak_client.asgi.Middleware for the route

    pgleak_client.watch("postgresql:///postgres")   logs the stack of each leak

No module imports a driver before it is itself imported. The companion never breaks the application: what fails in it is logged
once, and the statement goes to the server as it was.
"""

from .callers import configure
from .tags import set_route, set_traceparent
from .watcher import Watch, watch

__all__ = ["Watch", "configure", "set_route", "set_traceparent", "watch"]
