"""Psycopg 3: connections and the pools of psycopg_pool, with and without asyncio."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from . import callers, pools
from .tags import tagged


def install(target: Any) -> None:
    """Tags the statements of a connection, or of all connections of a pool, whose checkouts it also remembers.

    It replaces the cursor classes that the connection has by subclasses of them, so it keeps what row factories and cursor
    classes do. New connections of a pool without an application_name get the project's. A second time does nothing. Costs 2
    to 4 us for each statement, 3 to 10 us for each checkout. Raises AttributeError for anything that is neither.
    """
    if not hasattr(target, "getconn"):
        _tag(target)
        return
    pools.follow(target, _tag)
    target.kwargs = {"fallback_application_name": callers.project_name(), **(target.kwargs or {})}


def _tag(connection: Any) -> None:
    for name in ("cursor_factory", "server_cursor_factory"):
        factory: Any = getattr(connection, name)
        if isinstance(factory, type) and not issubclass(factory, _Tagged):
            setattr(connection, name, _tagged_class(factory))  # type: ignore[arg-type]


@lru_cache(maxsize=None)
def _tagged_class(factory: Any) -> Any:
    return type(factory.__name__, (_Tagged, factory), {"__module__": factory.__module__})


class _Tagged:
    """Not async, so that asyncio's cursors look at the stack when they are called, not when they are awaited."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        return super().execute(tagged(query, params is not None), params, **options)  # type: ignore[misc]

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> Any:
        return super().executemany(tagged(query, True), params_seq, **options)  # type: ignore[misc]

    def stream(self, query: Any, params: Any = None, **options: Any) -> Any:
        return super().stream(tagged(query, params is not None), params, **options)  # type: ignore[misc]

    def copy(self, statement: Any, params: Any = None, **options: Any) -> Any:
        return super().copy(tagged(statement, params is not None), params, **options)  # type: ignore[misc]
