"""asyncpg: connections and its pool.

asyncpg keeps a prepared statement for each text it has seen. The comment is the same for each line and route, so that cache
works as before; the trace, which differs each time, is added only if asked for.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import asyncpg
from asyncpg.connection import Connection

from . import callers, checkouts
from .failures import report_once
from .tags import tagged


def connect(*arguments: Any, traceparent: bool = False, **options: Any) -> Any:
    """asyncpg.connect(), to await as that, for a connection that tags its statements. 2 to 4 us for each; raises the same."""
    return asyncpg.connect(*arguments, **_with_companion(options, traceparent))


def create_pool(*arguments: Any, traceparent: bool = False, **options: Any) -> Any:
    """asyncpg.create_pool(), to await as that, for a pool that tags its statements and remembers its checkouts.

    Connections without an application_name get the project's. Costs 2 to 4 us for each statement and 3 to 10 us for each
    checkout; raises what asyncpg raises. After a terminate there is nothing to reclaim: asyncpg's pool notices it.
    """
    options = _with_companion(options, traceparent)
    setup = options.get("setup")

    async def set_up(connection: Any) -> None:
        _take(connection)
        if setup is not None:
            await setup(connection)

    return asyncpg.create_pool(*arguments, **{**options, "setup": set_up})


def _with_companion(options: dict[str, Any], traceparent: bool) -> dict[str, Any]:
    settings = {"application_name": callers.project_name(), **(options.get("server_settings") or {})}
    return {**options, "server_settings": settings,
            "connection_class": _tagged_class(options.get("connection_class", Connection), traceparent)}


def _take(connection: Any) -> None:
    try:
        pid = connection.get_server_pid()
        checkouts.take(pid)
        connection.add_termination_listener(lambda lost: checkouts.forget(pid))
    except Exception:
        report_once("noting a checkout")


def _forget(connection: Any) -> None:
    try:
        checkouts.forget(connection.get_server_pid())
    except Exception:
        report_once("noting a checkin")


@lru_cache(maxsize=None)
def _tagged_class(base: Any, traceparent: bool) -> Any:
    """No method is async here, so each looks at the stack when it is called, not when it is awaited."""

    class Tagged(base):  # type: ignore[misc]
        __slots__ = ()

        def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().execute(tagged(query, False, traceparent), *arguments, **options)

        def executemany(self, command: Any, *arguments: Any, **options: Any) -> Any:
            return super().executemany(tagged(command, False, traceparent), *arguments, **options)

        def fetch(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().fetch(tagged(query, False, traceparent), *arguments, **options)

        def fetchrow(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().fetchrow(tagged(query, False, traceparent), *arguments, **options)

        def fetchval(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().fetchval(tagged(query, False, traceparent), *arguments, **options)

        def cursor(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().cursor(tagged(query, False, traceparent), *arguments, **options)

        def prepare(self, query: Any, *arguments: Any, **options: Any) -> Any:
            return super().prepare(tagged(query, False, traceparent), *arguments, **options)

        def reset(self, *arguments: Any, **options: Any) -> Any:
            """The pool calls this when a connection comes back."""
            _forget(self)
            return super().reset(*arguments, **options)

    Tagged.__name__ = Tagged.__qualname__ = base.__name__
    return Tagged
