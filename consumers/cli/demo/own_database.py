"""The demo's own database, on a PostgreSQL server that others use, too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from asyncpg import exceptions
from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from infra.runtime.lifespan import StartupError
from infra.runtime.postgres.session import connect_arguments
from infra.runtime.sql import shown

NAME: Final = "stateset_demo"
_MARK: Final = "made by stateset demo, which drops it when it starts again"
_SECONDS: Final = 10.0
_FAILURES: Final = (
    OSError,
    TimeoutError,
    exceptions.PostgresError,
    exceptions.InterfaceError,
    ArgumentError,
    ValueError,
)


@asynccontextmanager
async def own_database(url: str) -> AsyncIterator[str]:
    """A new and empty database on the server that the URL names; what an earlier demo left is dropped.

    Yields:
        Its URL. A session in it stays open while the context lasts: nobody can drop it meanwhile.

    Raises:
        StartupError: The server cannot be used, or has a database of this name that is in use or not a demo's.
    """
    try:
        server = make_url(url)
        own = server.set(database=NAME)
        await _begin_anew(server)
        session = await asyncpg.connect(**connect_arguments(own), timeout=_SECONDS)
    except _FAILURES as error:
        raise StartupError(f"cannot make the database {NAME} by way of {shown(url)} ({error})") from error
    try:
        yield own.render_as_string(hide_password=False)
    finally:
        session.terminate()


async def _begin_anew(url: URL) -> None:
    session = await asyncpg.connect(**connect_arguments(url), timeout=_SECONDS, command_timeout=_SECONDS)
    try:
        await _refuse_foreign(session)
        await session.execute(f"DROP DATABASE IF EXISTS {NAME}")  # refused while anybody uses it
        await session.execute(f"CREATE DATABASE {NAME}")
        await session.execute(f"COMMENT ON DATABASE {NAME} IS '{_MARK}'")
    finally:
        session.terminate()


async def _refuse_foreign(session: Any) -> None:  # noqa: ANN401 - asyncpg has no types
    found = await session.fetchrow(
        "SELECT shobj_description(oid, 'pg_database') AS mark FROM pg_database WHERE datname = $1", NAME
    )
    if found is not None and found["mark"] != _MARK:
        raise StartupError(f"the server has a database {NAME} that no demo has made: rename it, or name another server")
