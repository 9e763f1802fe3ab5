"""Opens the database that a URL names."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.runtime.database import Database
from infra.runtime.lifespan import StartupError
from infra.runtime.sqlite import open_sqlite


def _open_postgres(
    url: URL, *, service: str, migrations: Path, must_exist: bool
) -> AbstractAsyncContextManager[Database]:
    from infra.runtime.postgres.database import open_postgres  # noqa: PLC0415 - a process on a file starts without it

    return open_postgres(url, service=service, migrations=migrations, must_exist=must_exist)


_OPENERS: Final[Mapping[str, Callable[..., AbstractAsyncContextManager[Database]]]] = {
    "sqlite": open_sqlite,
    "postgresql": _open_postgres,
}
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*@")


def shown(url: str) -> str:
    """The URL, whether it can be used or not, as people may see it: without its password."""
    return _PASSWORD.sub(r"\1:***@", url)


@asynccontextmanager
async def open_database(
    url: str, *, service: str, migrations: Path, must_exist: bool = False
) -> AsyncIterator[Database]:
    """Opens the service's database and makes or migrates its tables.

    Args:
        url: `sqlite:///path/to/file.db`, held for this process alone, or `postgresql://user@host/database`.
        service: Whose tables these are, such as "order"; compared with what is there.
        migrations: The folder of the service's alembic revisions.
        must_exist: Whether one that the service has never used is refused.

    Raises:
        StartupError: It cannot be reached, is not this service's, is newer than this program, or is not durable; or it
            is not there and must be. Nothing was changed.
    """
    try:
        parsed = make_url(url)
        opener = _OPENERS[parsed.get_backend_name()]
    except (ArgumentError, KeyError, ValueError) as error:
        raise StartupError(
            f"not a database URL that can be used: {shown(url)!r}; use sqlite:///path/to/file.db or postgresql://…"
        ) from error
    async with opener(parsed, service=service, migrations=migrations, must_exist=must_exist) as database:
        yield database


def refuse_in_use(connection: Connection, service: str) -> None:
    """Refuses a database that another process of the service uses; none starts before this transaction has ended.

    A process that has lost its connections at this moment is not seen.

    Raises:
        StartupError: There is one. On a file there is none: to open it is to hold it alone.
    """
    if connection.dialect.name == "postgresql":
        from infra.runtime.postgres.preparation import refuse_others  # noqa: PLC0415 - as above

        refuse_others(connection, service)
