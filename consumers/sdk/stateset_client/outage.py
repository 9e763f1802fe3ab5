"""Tells people that a server cannot be read from, which a reader bears without an error."""

import logging
from typing import Final

from stateset_client.errors import StateSetError

_QUIET_SECONDS: Final = 60.0
_log = logging.getLogger("stateset_client")


class Outage:
    """Warns when a server cannot be read from, and again while that lasts: at most once a minute.

    Args:
        address: `host:port` of the server.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._since_seconds: float | None = None
        self._quiet_until_seconds = 0.0

    def failed(self, error: StateSetError, now_seconds: float) -> None:
        """A stream could not be opened, or has broken; another one is tried."""
        if self._since_seconds is None:
            self._since_seconds = now_seconds
        if now_seconds < self._quiet_until_seconds:
            return
        self._quiet_until_seconds = now_seconds + _QUIET_SECONDS
        lasted_seconds = now_seconds - self._since_seconds
        _log.warning(
            "cannot read from %s for %.0f s now, trying again: %s: %s",
            self._address,
            lasted_seconds,
            error.code.name,
            error.message,
        )

    def end(self) -> None:
        """A stream is open."""
        self._since_seconds = None
