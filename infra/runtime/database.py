"""One database of one service, behind two calls: read and write."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection

from infra.runtime.log import get_logger

T = TypeVar("T")

_TELL_SECONDS: Final = 1.0
_log = get_logger(__name__)


class DatabaseUnavailableError(Exception):
    """The database cannot be used now. Whether a write was committed is not known; the same work may be tried again."""


class DatabaseLockedError(DatabaseUnavailableError):
    """Somebody else has held a lock for longer than work may wait for it. Nothing was written."""


async def to_its_end(work: "asyncio.Future[T]") -> T:
    """What the work comes to. It goes on when its caller is cancelled, and nobody asks any more how it ends."""
    work.add_done_callback(_seen)
    return await asyncio.shield(work)


def _seen(work: "asyncio.Future[Any]") -> None:
    if not work.cancelled():
        work.exception()  # asyncio would log one that nobody has looked at


class Outages:
    """Tells the log why a database cannot be used, once a second at most. Callers are told that it cannot, no more."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def tell(self, error: DatabaseUnavailableError) -> None:
        """Tells the log, unless it was told just now."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _TELL_SECONDS
            _log.warning("the database cannot be used now", error=str(error))


class Database(Protocol):
    """A service's own database. Work is a plain function over a connection and runs in one transaction.

    Both calls commit when `work` returns and roll back when it raises. Cancelling the caller does not cut the
    transaction short: it ends by itself, one way or the other. Both raise `DatabaseUnavailableError` when the database
    cannot be used now.
    """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on one consistent snapshot; many may run at once, beside a write."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` alone in this process: after every earlier write, before every later one.

        Other processes may write at the same time where the database serves several; rows that matter are locked by
        the work itself.
        """

    async def scrub(self) -> None:
        """Makes what was overwritten or deleted before the call unreadable in the files of an embedded database.

        Rows that were only ever appended, or overwritten with as many bytes, leave nothing. A server keeps old versions
        of rows by rules of its own: there, this does nothing.
        """
