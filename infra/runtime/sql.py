"""Opens the database that a URL names."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.runtime.database import Database
from infra.runtime.lifespan import StartupError
from infra.runtime.sqlite import open_sqlite


def _open_postgres(url: URL, *, service: str, migrations: Path) -> AbstractAsyncContextManager[Database]:
    from infra.runtime.postgres import open_postgres  # noqa: PLC0415 - what it loads, a process on a file starts without

    return open_postgres(url, service=service, migrations=migrations)


_OPENERS: Final[Mapping[str, Callable[..., AbstractAsyncContextManager[Database]]]] = {
    "sqlite": open_sqlite,
    "postgresql": _open_postgres,
}
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*@")


def shown(url: str) -> str:
    """The URL, whether it can be used or not, as people may see it: without its password."""
    return _PASSWORD.sub(r"\1:***@", url)


@asynccontextmanager
async def open_database(url: str, *, service: str, migrations: Path) -> AsyncIterator[Database]:
    """Opens the service's database and makes or migrates its tables.

    Args:
        url: `sqlite:///path/to/file.db`, held for this process alone, or `postgresql://user@host/database`.
        service: Whose tables these are, such as "order"; compared with what is there.
        migrations: The folder of the service's alembic revisions.

    Raises:
        StartupError: It cannot be reached, is not this service's, is newer than this program, or is not durable.
            Nothing was changed.
    """
    try:
        parsed = make_url(url)
        opener = _OPENERS[parsed.get_backend_name()]
    except (ArgumentError, KeyError, ValueError) as error:
        raise StartupError(
            f"not a database URL that can be used: {shown(url)!r}; use sqlite:///path/to/file.db or postgresql://…"
        ) from error
    async with opener(parsed, service=service, migrations=migrations) as database:
        yield database
