"""What fails in the companion: logged once for each place, and never seen by the application."""

from __future__ import annotations

import logging

logger = logging.getLogger("pgleak_client")
_reported: set[str] = set()


def report_once(where: str) -> None:
    """Logs the exception that is being handled, unless this place has reported one before. Raises nothing; call it in `except`."""
    if where in _reported:
        return
    _reported.add(where)
    logger.warning("%s failed; the application is not affected, later failures are not logged", where, exc_info=True)
