"""Psycopg 2: connections and its own pools."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from psycopg2.extensions import cursor as PlainCursor

from . import pools
from .tags import tagged


def install(target: Any) -> None:
    """Tags the statements of a connection, or of all connections of a pool of psycopg2.pool, whose checkouts it also remembers.

    It replaces the cursor class that the connection has by a subclass. A second time does nothing. Costs 2 to 4 us for each
    statement, 3 to 10 us for each checkout. Raises AttributeError for anything that is neither.
    """
    if hasattr(target, "getconn"):
        pools.follow(target, _tag)
    else:
        _tag(target)


def _tag(connection: Any) -> None:
    factory: Any = connection.cursor_factory or PlainCursor
    if isinstance(factory, type) and not issubclass(factory, _Tagged):
        connection.cursor_factory = _tagged_class(factory)  # type: ignore[arg-type]


@lru_cache(maxsize=None)
def _tagged_class(factory: Any) -> Any:
    return type(factory.__name__, (_Tagged, factory), {"__module__": factory.__module__})


class _Tagged:
    def execute(self, query: Any, vars: Any = None) -> Any:
        return super().execute(tagged(query, vars is not None), vars)  # type: ignore[misc]

    def executemany(self, query: Any, vars_list: Any) -> Any:
        return super().executemany(tagged(query, True), vars_list)  # type: ignore[misc]

    def copy_expert(self, sql: Any, file: Any, *arguments: Any, **options: Any) -> Any:
        return super().copy_expert(tagged(sql, False), file, *arguments, **options)  # type: ignore[misc]
