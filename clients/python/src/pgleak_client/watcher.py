"""The watch: listens to pgleak, and logs the stack of the checkout for each leak that is this process's own."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any, Optional

from . import checkouts, server
from .failures import logger, report_once

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_TURN = 0.5  # seconds until close() is noticed
_TIMEOUT = 10.0  # seconds for a client's end of a connection to learn that the server's is closed


class Watch:
    """A thread that listens until it is closed. Made by watch()."""

    def __init__(self, dsn: str, reclaim: bool, driver: Optional[str]) -> None:
        self._dsn, self._reclaim, self._driver = dsn, reclaim, driver
        self._stopped = threading.Event()
        self._known: set[Any] = set()  # leaks that are open and logged
        self._lost: list[tuple[float, checkouts.Checkout, dict[str, Any]]] = []  # to be given back, and until when
        self._thread = threading.Thread(target=self._run, name="pgleak_client.watch", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Ends the watch within half a second; waits for that, but no longer than the timeout. Raises nothing."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            connection = None
            try:
                connection = server.connect(self._dsn, self._driver)
                connection.listen()
                self._catch_up(connection)
                logger.log(logging.DEBUG if pause == _FIRST_PAUSE else logging.INFO, "pgleak watch is listening")
                pause = _FIRST_PAUSE
                while not self._stopped.is_set():
                    for payload in connection.wait(_TURN / 10 if self._lost else _TURN):
                        self._handle(payload)
                    self._give_back()
            except Exception as error:
                # One line for each time that the server goes, not for each attempt.
                level = logging.WARNING if pause == _FIRST_PAUSE else logging.DEBUG
                logger.log(level, "pgleak watch has no connection, tries again in %.0fs: %s", pause, str(error).strip())
            finally:
                _close_quietly(connection)
            if self._stopped.wait(pause):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _catch_up(self, connection: server.Server) -> None:
        """What opened while nobody listened."""
        for leak in server.leaks_of(connection, checkouts.pids()):
            self._tell({"event": "opened", **leak})

    def _handle(self, payload: str) -> None:
        """Anybody may notify, so a payload can be anything."""
        try:
            event = json.loads(payload)
            if isinstance(event, dict) and isinstance(event.get("pid"), int):
                self._tell(event)
        except Exception:
            report_once("reading a notification")

    def _tell(self, event: dict[str, Any]) -> None:
        checkout = checkouts.of(event["pid"])
        kind, leak_id = event.get("event"), event.get("leak_id")
        if kind == "ended" and leak_id in self._known:
            self._known.discard(leak_id)
            logger.info("pgleak: leak %s of pid %s has ended: %s", leak_id, event["pid"], event.get("outcome"),
                        extra=_fields(event))
        if checkout is None or checkout.age() < _seconds(event.get("leak_after")):
            return  # another process's, or of whoever had the connection before
        if kind == "opened" and leak_id not in self._known:
            self._known.add(leak_id)
            logger.warning(
                "pgleak: leak %s: pid %s (%s) has held its connection for %.1fs, clock=%s impact=%s blocked=%s\n"
                "Taken at %s (most recent call last):\n%s", leak_id, event["pid"], event.get("application_name"),
                checkout.age(), event.get("clock"), event.get("impact"), event.get("blocked"),
                checkout.stack.site() or "an unknown place", checkout.stack.format(), extra=_fields(event))
        elif kind == "blocking" or (kind == "acted" and event.get("result") != "requested"):
            logger.warning("pgleak: leak %s of pid %s: %s, taken at %s", leak_id, event["pid"],
                           " ".join(str(event[key]) for key in ("event", "action", "result") if key in event),
                           checkout.stack.site() or "an unknown place", extra=_fields(event))
        elif kind == "ended" and event.get("outcome") == "terminated" and self._reclaim:
            self._lost.append((time.monotonic() + _TIMEOUT, checkout, event))

    def _give_back(self) -> None:
        """The server's word is not enough: only a connection that this process sees closed is given back."""
        lost, self._lost = self._lost, []
        for until, checkout, event in lost:
            try:
                if checkout.give_back():
                    checkouts.forget(checkout.pid)
                    logger.warning("pgleak: leak %s was terminated; its place in the pool is free again, taken at %s",
                                   event.get("leak_id"), checkout.stack.site() or "an unknown place", extra=_fields(event))
                elif checkouts.of(checkout.pid) is checkout and time.monotonic() < until:
                    self._lost.append((until, checkout, event))
            except Exception:
                report_once("giving a connection back")


def watch(dsn: str, *, reclaim: bool = False, driver: Optional[str] = None) -> Watch:
    """Starts a daemon thread that logs where the connection of each leak of this process was taken.

    The connection string leads to the database that `pgleak.database` names, past any PgBouncer. The role needs no privilege.
    The logger is "pgleak_client". With `reclaim`, a connection that pgleak has terminated is invalidated and its place in the
    pool given back, so that whoever still uses it gets the same error as after any lost connection; psycopg_pool and
    SQLAlchemy's pools need that, asyncpg's does not. Without a server the thread tries again, after 1 to 60 seconds. Call it in
    the process that uses the pool, after any fork. Costs a connection and two wake-ups a second; raises nothing.
    """
    return Watch(dsn, reclaim, driver)


def _fields(event: dict[str, Any]) -> dict[str, Any]:
    """For structured logs."""
    return {"leak_id": event.get("leak_id"), "backend_pid": event["pid"]}


def _seconds(limit: Any) -> float:
    """A limit in an event; one in a row of pgleak.leaks is an interval's text, and the row is about now."""
    return float(limit) if isinstance(limit, (int, float)) else 0.0


def _close_quietly(connection: Optional[server.Server]) -> None:
    try:
        if connection is not None:
            connection.close()
    except Exception:
        logger.debug("closing a lost connection failed", exc_info=True)
