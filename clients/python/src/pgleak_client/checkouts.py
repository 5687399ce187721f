"""The connections that the application has taken and not returned: who took each of them, and when.

The key is the process id of the server's backend, by which pgleak names a session. Drivers' modules write here, the watch and
the pool's page read. Nothing here keeps a connection alive, so a connection that the application drops is still collected.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

from .callers import Stack


class Checkout:
    """A connection in somebody's hands."""

    __slots__ = ("pid", "stack", "taken_at", "_began", "_give_back")

    def __init__(self, pid: int, give_back: Optional[Callable[[], bool]]) -> None:
        self.pid = pid
        self.stack = Stack()
        self.taken_at = time.time()
        self._began = time.monotonic()
        self._give_back = give_back

    def age(self) -> float:
        """For how many seconds it has been taken. Raises nothing."""
        return time.monotonic() - self._began

    def give_back(self) -> bool:
        """Returns the pool's slot of a connection that the server has closed. False if there is none; raises what the pool does."""
        return self._give_back is not None and self._give_back()


_taken: dict[int, Checkout] = {}


def take(pid: int, give_back: Optional[Callable[[], bool]] = None) -> None:
    """Remembers the caller's stack for a connection: 3 to 10 us. Raises nothing.

    `give_back` is for Checkout.give_back(); it must not hold the connection.
    """
    _taken[pid] = Checkout(pid, give_back)


def forget(pid: int) -> None:
    """The connection is back, or gone. Raises nothing."""
    _taken.pop(pid, None)


def of(pid: int) -> Optional[Checkout]:
    """The checkout of a backend; None if this process has not taken it. Raises nothing."""
    return _taken.get(pid)


def pids() -> list[int]:
    """The backends whose connections are taken. Raises nothing."""
    return list(_taken)


# The child of a fork has the parent's connections in its memory, but must not use them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_taken.clear)
