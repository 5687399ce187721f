"""The route of each request, for FastAPI, Starlette and other ASGI frameworks, and a page that shows the pool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any, Callable, Optional

from . import checkouts, server, tags
from .failures import report_once

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Middleware:
    """Names the route of each request, as its template ("/orders/{id}"), and the trace that the request belongs to."""

    def __init__(self, app: _App, pool: Any = None, dsn: Optional[str] = None, page: Optional[str] = None) -> None:
        """For `app.add_middleware(pgleak_client.asgi.Middleware)`. 2 us for each request; raises nothing.

        With `page`, such as "/debug/pool", it answers that path with JSON: the counts of the pool (an Engine, a SQLAlchemy
        pool, a pool of psycopg_pool or asyncpg) and the open leaks of this process with the stacks of their checkouts, which
        it asks pgleak.leaks for, over a connection of its own to `dsn`. The page shows source code: give it a path that only
        you can reach.
        """
        self._app, self._pool, self._dsn, self._page = app, pool, dsn, page

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._page is not None and scope["path"] == self._page and scope["type"] == "http":
            await self._answer(send)
            return
        # The router has yet to find the route; statements ask for it later.
        route = tags.set_route(_Route(scope))
        trace = tags.set_traceparent(_header(scope.get("headers", ()), b"traceparent"))
        try:
            await self._app(scope, receive, send)
        finally:
            tags.reset(route, trace)

    async def _answer(self, send: _Send) -> None:
        body = json.dumps(await pool_page(self._pool, self._dsn), default=str, indent=2).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


class _Route:
    """The template of the route that the framework has chosen for a request."""

    __slots__ = ("_scope", "_outside")

    def __init__(self, scope: _Scope) -> None:
        self._scope = scope
        self._outside = len(scope.get("root_path") or "")

    def __call__(self) -> str:
        scope = self._scope
        route = scope.get("route")  # FastAPI's
        if route is None and "endpoint" in scope:
            route = scope["route"] = _find_route(scope)
        path = getattr(route, "path", "")
        # What is mounted knows only the rest of its path.
        return (scope.get("root_path") or "")[self._outside:] + path if path else ""


def _find_route(scope: _Scope) -> Any:
    """Starlette leaves the endpoint, not the route, in the scope."""
    return _search(getattr(scope.get("router"), "routes", ()), scope["endpoint"])


def _search(routes: Iterable[Any], endpoint: Any) -> Any:
    for route in routes or ():
        if getattr(route, "endpoint", None) is endpoint:
            return route
        found = _search(getattr(route, "routes", None) or (), endpoint)
        if found is not None:
            return found
    return None


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Optional[str]:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


async def pool_page(pool: Any, dsn: Optional[str]) -> dict[str, Any]:
    """What the page shows. One connection and one query, in a thread; an error is in it under "error" instead of raised."""
    page: dict[str, Any] = {}
    try:
        page.update(pool_counts(pool))
        taken = checkouts.pids()
        page["leaks"] = [] if dsn is None or not taken else [
            _with_checkout(leak) for leak in await asyncio.to_thread(server.open_leaks, dsn, taken)]
    except Exception as error:
        report_once("the pool's page")
        page["error"] = f"{type(error).__name__}: {error}"
    return page


def pool_counts(pool: Any) -> dict[str, Optional[int]]:
    """checked_out, checked_in, overflow and size of a pool; None for what it does not tell. Raises nothing it knows of; 5 us."""
    pool = getattr(pool, "pool", pool)  # an Engine's
    if hasattr(pool, "get_stats"):  # psycopg_pool
        stats = pool.get_stats()
        size, free = stats["pool_size"], stats["pool_available"]
        return _counts(size - free, free, size - stats["pool_min"], size)
    if hasattr(pool, "get_idle_size"):  # asyncpg
        size, free = pool.get_size(), pool.get_idle_size()
        return _counts(size - free, free, size - pool.get_min_size(), size)
    names = ("checkedout", "checkedin", "overflow", "size")  # SQLAlchemy
    return _counts(*(getattr(pool, name)() if hasattr(pool, name) else None for name in names))


def _counts(checked_out: Optional[int], checked_in: Optional[int], overflow: Optional[int],
            size: Optional[int]) -> dict[str, Optional[int]]:
    # Below its size, SQLAlchemy's overflow is negative.
    overflow = None if overflow is None else max(overflow, 0)
    return {"checked_out": checked_out, "checked_in": checked_in, "overflow": overflow, "size": size}


def _with_checkout(leak: dict[str, Any]) -> dict[str, Any]:
    checkout = checkouts.of(leak["pid"])
    if checkout is not None:
        leak["checkout"] = {"seconds_ago": round(checkout.age(), 3), "at": checkout.stack.site(),
                            "stack": checkout.stack.format().splitlines()}
    return leak
