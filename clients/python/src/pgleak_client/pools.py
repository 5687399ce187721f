"""What pools with getconn() and putconn() have in common: those of psycopg_pool and of psycopg2."""

from __future__ import annotations

import asyncio
import inspect
import select
import weakref
from typing import Any, Callable, Optional

from . import checkouts
from .failures import report_once


def follow(pool: Any, prepare: Callable[[Any], None]) -> None:
    """Remembers the stack of each getconn() until its putconn(); `prepare` gets each connection that is taken.

    A second time does nothing. 3 to 10 us for each checkout. Raises AttributeError for anything that is no such pool.
    """
    if "getconn" in vars(pool):
        return
    follower = _Follower(pool, prepare)
    is_async = inspect.iscoroutinefunction(pool.getconn)
    pool.getconn, pool.putconn = (follower.getconn_async, follower.putconn_async) if is_async else (
        follower.getconn, follower.putconn)


class _Follower:
    def __init__(self, pool: Any, prepare: Callable[[Any], None]) -> None:
        self._get, self._put, self._prepare = pool.getconn, pool.putconn, prepare
        self._pids: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # a closed connection has none
        self._reclaimed: weakref.WeakSet[Any] = weakref.WeakSet()

    def getconn(self, *arguments: Any, **options: Any) -> Any:
        connection = self._get(*arguments, **options)
        self._take(connection, None)
        return connection

    async def getconn_async(self, *arguments: Any, **options: Any) -> Any:
        connection = await self._get(*arguments, **options)
        self._take(connection, asyncio.get_running_loop())
        return connection

    def putconn(self, connection: Any, *arguments: Any, **options: Any) -> Any:
        return None if self._is_back(connection) else self._put(connection, *arguments, **options)

    async def putconn_async(self, connection: Any, *arguments: Any, **options: Any) -> Any:
        return None if self._is_back(connection) else await self._put(connection, *arguments, **options)

    def _take(self, connection: Any, loop: Optional[asyncio.AbstractEventLoop]) -> None:
        try:
            self._prepare(connection)
            pid = self._pids[connection] = connection.info.backend_pid
            reference = weakref.ref(connection)
            checkouts.take(pid, lambda: self._reclaim(reference(), loop))
        except Exception:
            report_once("noting a checkout")

    def _is_back(self, connection: Any) -> bool:
        """Whether the watch has given the connection back before its user does."""
        try:
            if connection in self._reclaimed:
                self._reclaimed.discard(connection)
                return True
            checkouts.forget(self._pids.pop(connection, 0))
        except Exception:
            report_once("noting a checkin")
        return False

    def _reclaim(self, connection: Any, loop: Optional[asyncio.AbstractEventLoop]) -> bool:
        """Gives back a connection that the server has closed. Its user sees a closed connection from now on."""
        if connection is None or connection not in self._pids or not is_lost(connection):
            return False
        self._reclaimed.add(connection)
        del self._pids[connection]
        if loop is None:
            connection.close()
            self._put(connection)
        else:
            asyncio.run_coroutine_threadsafe(self._put_closed(connection), loop).result(10)
        return True

    async def _put_closed(self, connection: Any) -> None:
        await connection.close()
        await self._put(connection)


def is_lost(connection: Any) -> bool:
    """Whether the server has ended a libpq connection. A server's last words wait to be read, so a silent socket is open."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
