"""A connection of the companion's own to the server, through whichever driver the application has.

The application's pool may be exhausted just when somebody asks why, so nothing here uses it. Blocking, for one thread at a
time; in an application with asyncio it belongs into a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import re
import selectors
import shlex
import sys
from typing import Any, Optional, Protocol

_DRIVERS = ("psycopg2", "psycopg", "asyncpg")
_NAME = "pgleak_client"


class Server(Protocol):
    """What both kinds of connection can do. Each method raises the driver's error when the connection is lost."""

    def rows(self, statement: str, value: Any) -> list[dict[str, Any]]:
        """The rows of a statement that returns one jsonb column, with one value in place of {}."""

    def listen(self) -> None:
        """Subscribes to pgleak's notifications."""

    def wait(self, seconds: float) -> list[str]:
        """The payloads that have arrived; waits for the first one, but no longer than that."""

    def close(self) -> None:
        """Ends the connection; raises nothing."""


def connect(dsn: str, driver: Optional[str] = None) -> Server:
    """Connects to a libpq connection string or URL (SQLAlchemy's "+driver" in it is ignored).

    The driver is the one named, else one that is already imported, else one that is installed. Raises ImportError if there is
    none, and the driver's error if the server is not there.
    """
    name = driver or _find_driver()
    dsn = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", dsn)
    module = importlib.import_module(name)
    if name == "asyncpg":
        return _Asyncpg(module, dsn)
    return _Libpq(module, dsn)


def open_leaks(dsn: str, pids: list[int]) -> list[dict[str, Any]]:
    """The rows of pgleak.leaks for some backends, without what is NULL. One connection and one query; raises as connect() does."""
    server = connect(dsn)
    try:
        return leaks_of(server, pids)
    finally:
        server.close()


def leaks_of(server: Server, pids: list[int]) -> list[dict[str, Any]]:
    """The same over a connection that there is."""
    return server.rows("SELECT jsonb_strip_nulls(to_jsonb(l)) FROM pgleak.leaks l WHERE pid = ANY ({})", pids)


def _keywords(dsn: str) -> dict[str, str]:
    """What asyncpg.connect() takes for a connection string; of libpq's two forms it knows the URL only."""
    if "://" in dsn:
        return {"dsn": dsn}
    names = {"dbname": "database", "sslmode": "ssl"}
    pairs = (pair.partition("=") for pair in shlex.split(dsn))
    return {names.get(name, name): value for name, _, value in pairs}


def _find_driver() -> str:
    for name in _DRIVERS:
        if name in sys.modules:
            return name
    for name in _DRIVERS:
        if importlib.util.find_spec(name) is not None:
            return name
    raise ImportError("pgleak_client needs one of " + ", ".join(_DRIVERS))


class _Libpq:
    """Through psycopg2 or psycopg."""

    def __init__(self, module: Any, dsn: str) -> None:
        # A server that is gone without a word is noticed within a minute.
        self._connection = module.connect(dsn, application_name=_NAME, connect_timeout=10, keepalives_idle=30,
                                          keepalives_interval=10, keepalives_count=3)
        self._connection.autocommit = True
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._connection.fileno(), selectors.EVENT_READ)

    def rows(self, statement: str, value: Any) -> list[dict[str, Any]]:
        cursor = self._connection.cursor()
        cursor.execute(statement.format("%s"), (value,))
        return [row[0] for row in cursor.fetchall()]

    def listen(self) -> None:
        self._connection.cursor().execute("LISTEN pgleak")

    def wait(self, seconds: float) -> list[str]:
        self._selector.select(seconds)
        if hasattr(self._connection, "notifies") and hasattr(self._connection, "poll"):  # psycopg2
            self._connection.poll()
            arrived = [notify.payload for notify in self._connection.notifies]
            self._connection.notifies.clear()
            return arrived
        libpq = self._connection.pgconn
        libpq.consume_input()
        arrived = []
        while (notify := libpq.notifies()) is not None:
            arrived.append(notify.extra.decode("utf-8", "replace"))
        return arrived

    def close(self) -> None:
        self._selector.close()
        self._connection.close()


class _Asyncpg:
    """Through asyncpg, on an event loop that runs only while somebody waits here."""

    def __init__(self, module: Any, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._arrived = self._run(_new_queue())
            self._connection = self._run(module.connect(**_keywords(dsn), timeout=10,
                                                        server_settings={"application_name": _NAME}))
        except BaseException:
            self._loop.close()
            raise
        self._lost = module.InterfaceError

    def _run(self, awaitable: Any) -> Any:
        return self._loop.run_until_complete(awaitable)

    def rows(self, statement: str, value: Any) -> list[dict[str, Any]]:
        return [json.loads(row[0]) for row in self._run(self._connection.fetch(statement.format("$1"), value))]

    def listen(self) -> None:
        self._connection.add_termination_listener(lambda connection: self._arrived.put_nowait(None))
        self._run(self._connection.add_listener("pgleak", lambda *event: self._arrived.put_nowait(event[-1])))

    def wait(self, seconds: float) -> list[str]:
        try:
            arrived = [self._run(asyncio.wait_for(self._arrived.get(), seconds))]
        except asyncio.TimeoutError:
            return []
        while not self._arrived.empty():
            arrived.append(self._arrived.get_nowait())
        if None in arrived:
            raise self._lost("the connection is closed")
        return arrived

    def close(self) -> None:
        self._connection.terminate()
        self._loop.close()


async def _new_queue() -> asyncio.Queue[Optional[str]]:
    """Before Python 3.10, a queue belongs to the loop that runs when it is made."""
    return asyncio.Queue()
