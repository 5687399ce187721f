"""A plugin for pytest: a test that leaves a transaction open on the server fails, with the line that began to leave it.

It asks the server itself, so it sees every connection, whatever library made it, and waits for no limit of pgleak.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Any, Optional

import pytest

from . import checkouts, server

_QUESTION = "SELECT to_jsonb(t) FROM pgleak.open_transactions({}::text) t"
_GRACE = 0.5  # seconds: a client that closes its connection does not wait for the server


def pytest_addoption(parser: Any) -> None:
    """Options --pgleak-dsn and --pgleak-application-name, also in the ini file."""
    group = parser.getgroup("pgleak", "open transactions")
    group.addoption("--pgleak-dsn", help="connection string of a database with the extension pgleak; without it, nothing is checked")
    group.addoption("--pgleak-application-name",
                    help="check the sessions with this application_name only; default: those of this process")
    parser.addini("pgleak_dsn", "as --pgleak-dsn")
    parser.addini("pgleak_application_name", "as --pgleak-application-name")


def pytest_configure(config: Any) -> None:
    """Connects if there is a connection string. Raises UsageError if the server or the function is not there."""
    dsn = config.getoption("--pgleak-dsn") or config.getini("pgleak_dsn")
    if not dsn or hasattr(config, "workerinput") is False and getattr(config.option, "numprocesses", None):
        return  # of pytest-xdist's processes, the workers run the tests
    name = config.getoption("--pgleak-application-name") or config.getini("pgleak_application_name")
    # What libpq calls sessions that have no name of their own; another one for each of xdist's workers.
    own_name = os.environ.setdefault("PGAPPNAME", f"pytest-{os.getpid()}")
    try:
        config.pluginmanager.register(_Check(server.connect(dsn), name or None, own_name), "pgleak_check")
    except Exception as error:
        raise pytest.UsageError(f"pgleak: cannot check for open transactions: {str(error).strip()}") from error


class _Check:
    """Those with the name that was given; without one, those of this process, by libpq's name or the companion's checkouts."""

    def __init__(self, connection: server.Server, name: Optional[str], own_name: str) -> None:
        self._server, self._name, self._own_name = connection, name, own_name
        self._known: set[tuple[Any, ...]] = set()
        self._open()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: Any) -> Generator[None, None, None]:
        """What is open before the test itself belongs to fixtures, which may outlive the test."""
        self._known = {_identity(row) for row in self._open()}
        yield

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: Any) -> Generator[None, None, None]:
        """Checks when the fixtures of the test have cleaned up."""
        outcome: Any = yield
        left = self._left_open()
        if left and outcome.excinfo is None:
            pytest.fail(_describe(left), pytrace=False)

    def pytest_unconfigure(self) -> None:
        """Ends the plugin's own connection."""
        self._server.close()

    def _open(self) -> list[dict[str, Any]]:
        rows = self._server.rows(_QUESTION, self._name)
        return [row for row in rows if self._name or row.get("application_name") == self._own_name
                or checkouts.of(row["pid"]) is not None]

    def _left_open(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + _GRACE
        while True:
            left = [row for row in self._open() if _identity(row) not in self._known]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.01)


def _identity(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["pid"], row["xact_start"]


def _describe(left: list[dict[str, Any]]) -> str:
    count = "a transaction" if len(left) == 1 else f"{len(left)} transactions"
    return f"the test left {count} open on the server\n" + "\n".join(_describe_one(row) for row in left)


def _describe_one(row: dict[str, Any]) -> str:
    checkout = checkouts.of(row["pid"])
    code = row.get("code") or (row.get("tags") or {}).get("code") or "unknown code (is the companion of its driver installed?)"
    text = [f"\n{code}", f"  pid {row['pid']} ({row.get('application_name')}), {row.get('state')}, open for "
            f"{row.get('transaction_age')}", f"  last statement: {row.get('query')}"]
    text += [f"  {_at(entry)} {entry.get('query')}" for entry in row.get("trail") or []]
    if checkout is not None:
        text += ["  its connection was taken at (most recent call last):", checkout.stack.format()]
    return "\n".join(text)


def _at(entry: dict[str, Any]) -> Optional[str]:
    """The time of day of a statement."""
    at = str(entry.get("at", ""))
    return at[11:23] if "T" in at else at
