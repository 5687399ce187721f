"""Django 3.2 and later, with psycopg2 or psycopg."""

from __future__ import annotations

from typing import Any, Callable

from django.apps import AppConfig
from django.db import connections
from django.db.backends.signals import connection_created

from . import callers, checkouts, tags
from .failures import report_once


class Companion(AppConfig):  # type: ignore[misc]
    """For INSTALLED_APPS, as "pgleak_client.django.Companion", where there is no middleware: commands, workers of a queue."""

    name = "pgleak_client.django"
    label = "pgleak_client"

    def ready(self) -> None:
        """Calls install()."""
        install()


class Middleware:
    """For MIDDLEWARE, as "pgleak_client.django.Middleware": calls install(), and names the route and the trace of requests."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        """2 us for each request; raises nothing."""
        self._get_response = get_response
        install()

    def __call__(self, request: Any) -> Any:
        route = tags.set_route(lambda: _route_of(request))
        trace = tags.set_traceparent(request.META.get("HTTP_TRACEPARENT"))
        try:
            return self._get_response(request)
        finally:
            tags.reset(route, trace)


def install() -> None:
    """Tags the statements of all PostgreSQL connections of this process, and remembers the stack that began each transaction.

    Connections without an application_name get the project's. Call it before the first connection; a second time does nothing.
    Costs 2 to 4 us for each statement and 3 to 10 us for each transaction. Raises ImproperlyConfigured as Django does.
    """
    connection_created.connect(_on_connection, dispatch_uid="pgleak_client")
    for settings in connections.databases.values():
        if settings.get("ENGINE", "").endswith(("postgresql", "postgis")):
            settings.setdefault("OPTIONS", {}).setdefault("fallback_application_name", callers.project_name())


def _route_of(request: Any) -> str:
    """The template, which the resolver finds after the middleware; empty before."""
    match = getattr(request, "resolver_match", None)
    return "" if match is None else "/" + match.route.lstrip("/")


def _on_connection(connection: Any, **ignored: Any) -> None:
    if connection.vendor == "postgresql" and _execute not in connection.execute_wrappers:
        # The outermost: inside of the application's own wrappers, their line would be the one that is found.
        connection.execute_wrappers.insert(0, _execute)


def _execute(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    try:
        _note_transaction(context["connection"])
    except Exception:
        report_once("noting a transaction")
    return execute(tags.tagged(sql, params is not None), params, many, context)


def _note_transaction(connection: Any) -> None:
    """Django has no pool to take connections from; what is held too long is the transaction."""
    raw = connection.connection
    if raw is None or connection.get_autocommit():
        return
    is_idle = raw.info.transaction_status == 0
    if is_idle or checkouts.of(raw.info.backend_pid) is None:
        checkouts.take(raw.info.backend_pid)
