"""SQLAlchemy 1.4 and 2, Engine and AsyncEngine, any driver for PostgreSQL."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, Optional

from sqlalchemy import event

from . import callers, checkouts
from .failures import report_once
from .pools import is_lost
from .tags import tagged

# Keys in the info of a pool's record.
_PID = "pgleak_pid"
_CONNECTION = "pgleak_connection"


def install(engine: Any, *, application_name: Optional[str] = None, traceparent: Optional[bool] = None) -> None:
    """Tags each statement of an engine and remembers the stack of each checkout.

    New connections without an application_name get the one given, else the project's. `traceparent` adds the trace to each
    statement; None does so with psycopg2 only, which caches no statement. Call it before the first connection; a second time
    does nothing. Costs 2 to 4 us for each statement and 3 to 10 us for each checkout. Raises TypeError for anything that is no
    Engine or AsyncEngine.
    """
    engine = getattr(engine, "sync_engine", engine)
    if not hasattr(engine, "dialect") or not hasattr(engine, "pool"):
        raise TypeError(f"not an Engine or AsyncEngine: {engine!r}")
    if getattr(engine, "_pgleak_is_installed", False):
        return
    engine._pgleak_is_installed = True
    companion = _Companion(engine, application_name, traceparent)
    event.listen(engine, "before_cursor_execute", companion.before_cursor_execute, retval=True)
    event.listen(engine, "begin", companion.begin)
    event.listen(engine, "do_connect", companion.do_connect)
    event.listen(engine, "connect", companion.connect)
    event.listen(engine, "checkout", companion.checkout)
    for name in ("checkin", "invalidate", "close"):
        event.listen(engine, name, companion.checkin)


class _Companion:
    def __init__(self, engine: Any, application_name: Optional[str], traceparent: Optional[bool]) -> None:
        dialect = engine.dialect
        self._driver = dialect.driver
        self._is_async = getattr(dialect, "is_async", False)
        self._interpolates = dialect.paramstyle in ("format", "pyformat")
        self._traceparent = self._driver == "psycopg2" if traceparent is None else traceparent
        self._application_name = application_name

    def before_cursor_execute(self, connection: Any, cursor: Any, statement: Any, parameters: Any, context: Any,
                              executemany: bool) -> tuple[Any, Any]:
        # Only without parameters and with the option no_parameters does the driver get the text alone.
        is_plain = not parameters and not executemany and getattr(context, "no_parameters", False)
        return tagged(statement, self._interpolates and not is_plain, self._traceparent), parameters

    def begin(self, connection: Any) -> None:
        """Whose transaction it is that a terminate ends."""
        try:
            connection.connection.info[_CONNECTION] = weakref.ref(connection)
        except Exception:
            report_once("noting a transaction")

    def do_connect(self, dialect: Any, record: Any, arguments: Any, parameters: Any) -> None:
        """A name for sessions that have none: libpq uses its fallback only then."""
        try:
            name = self._application_name or callers.project_name()
            if self._driver in ("psycopg2", "psycopg"):
                parameters.setdefault("fallback_application_name", name)
            elif self._driver == "asyncpg":
                parameters["server_settings"] = {"application_name": name, **parameters.get("server_settings", {})}
        except Exception:
            report_once("naming a connection")

    def connect(self, connection: Any, record: Any) -> None:
        try:
            record.info[_PID] = _backend_pid(connection)
        except Exception:
            report_once("finding a connection's process id")

    def checkout(self, connection: Any, record: Any, proxy: Any) -> None:
        try:
            pid = record.info.get(_PID)
            if pid is not None:
                checkouts.take(pid, _GiveBack(record, proxy, self._is_async))
        except Exception:
            report_once("noting a checkout")

    def checkin(self, connection: Any, record: Any, *error: Any) -> None:
        try:
            record.info.pop(_CONNECTION, None)
            checkouts.forget(record.info.get(_PID, 0))
        except Exception:
            report_once("noting a checkin")


class _GiveBack:
    """Invalidates a connection that the server has closed, as SQLAlchemy itself does when it finds out."""

    __slots__ = ("_record", "_proxy", "_loop")

    def __init__(self, record: Any, proxy: Any, is_async: bool) -> None:
        self._record, self._proxy = weakref.ref(record), weakref.ref(proxy)
        self._loop = asyncio.get_running_loop() if is_async else None

    def __call__(self) -> bool:
        record, proxy = self._record(), self._proxy()
        if record is None or proxy is None or not proxy.is_valid or not _is_closed(proxy.dbapi_connection):
            return False
        if self._loop is None:
            return _invalidate(record, proxy)
        from sqlalchemy.util import greenlet_spawn
        return asyncio.run_coroutine_threadsafe(greenlet_spawn(_invalidate, record, proxy), self._loop).result(10)


def _invalidate(record: Any, proxy: Any) -> bool:
    reference = record.info.get(_CONNECTION)
    connection = reference() if reference is not None else None
    # A Connection tells its user to roll back first, which the proxy alone would not.
    if connection is not None and not connection.closed and not connection.invalidated:
        connection.invalidate()
    elif proxy.is_valid:
        proxy.invalidate()
    return True


def _raw(connection: Any) -> Any:
    """The driver's own connection, which the adapters of asynchronous drivers wrap."""
    return getattr(connection, "driver_connection", None) or getattr(connection, "_connection", None) or connection


def _backend_pid(connection: Any) -> Optional[int]:
    connection = _raw(connection)
    for name in ("get_backend_pid", "get_server_pid"):  # psycopg2, asyncpg
        if hasattr(connection, name):
            return getattr(connection, name)()
    return connection.info.backend_pid if hasattr(connection, "info") else None  # psycopg


def _is_closed(connection: Any) -> bool:
    """Whether the server has closed it."""
    connection = _raw(connection)
    if hasattr(connection, "is_closed"):
        return bool(connection.is_closed())
    return is_lost(connection)
