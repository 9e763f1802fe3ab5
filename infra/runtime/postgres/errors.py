"""What PostgreSQL and its driver say against our work: what passes, and what to do about what does not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from asyncpg import exceptions as asyncpg_errors
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from infra.runtime.database import DatabaseLockedError, DatabaseUnavailableError, Outages

# SQLSTATE classes: connection, transaction rolled back, resources, operator, system; and: lock timeout, idle for too
# long, and read only, as a standby is, and a primary that has been taken out of service.
_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
_LOCKED: Final = "55P03"
_PASSING_STATES: Final = frozenset({_LOCKED, "25P03", "25006"})
_AWAY: Final = frozenset({"", "080", "57P"})  # how the states begin of a server that does not answer, or not yet
_ADVICE: Final[Mapping[str, str]] = {
    _LOCKED: "end the session that holds the lock",
    "53300": "end others or raise the limit",
}
_NO_RIGHT: Final = "42501"
# The last one: a server that dies says so unasked, which puts the driver out of step with its connection.
LOST: Final = (
    OSError,
    asyncpg_errors.PostgresError,
    asyncpg_errors.InterfaceError,
    asyncpg_errors.InternalClientError,
)


@contextmanager
def told_as_ours(outages: Outages) -> Iterator[None]:
    """Raises what will pass, and what somebody has to see to, as DatabaseUnavailableError, and tells the log."""
    try:
        yield
    except (*LOST, DBAPIError, PoolTimeoutError) as error:
        if is_passing(error) or _is_shut_out(error):
            kind = DatabaseLockedError if _state(error) == _LOCKED else DatabaseUnavailableError
            ours = kind(f"PostgreSQL cannot be used now: {str(error) or 'it does not answer'}")
            outages.tell(ours)
            raise ours from error
        raise


def is_passing(error: Exception) -> bool:
    """Whether the same work may succeed later, as it was the server or the way there that failed, or a lock."""
    if isinstance(error, DBAPIError) and (
        error.connection_invalidated
        or isinstance(error, (OperationalError, InterfaceError))
        or isinstance(error.driver_exception, asyncpg_errors.InternalClientError)  # see LOST
    ):
        return True
    state = _state(error)
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def advice(error: Exception) -> str:
    """What to do about an error that did not pass."""
    state = _state(error)
    away = is_passing(error) and state[:3] in _AWAY
    return _ADVICE.get(state, "start it" if away else "see to that")


def _is_shut_out(error: Exception) -> bool:
    """Whether the server lets us in no more, for whatever reason, or took a right away: until somebody sees to that."""
    said = error.driver_exception if isinstance(error, DBAPIError) else error
    return getattr(said, "severity_en", "") == "FATAL" or _state(error) == _NO_RIGHT


def _state(error: Exception) -> str:
    """The server's SQLSTATE; where the driver says none, the connection is at fault."""
    if isinstance(error, DBAPIError):
        return getattr(error.orig, "sqlstate", None) or ""
    return getattr(error, "sqlstate", None) or "08000"
