"""One service's database on a PostgreSQL server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from infra.runtime.database import Outages, to_its_end
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from infra.runtime.postgres.errors import LOST, advice, told_as_ours
from infra.runtime.postgres.preparation import analyze, reach
from infra.runtime.postgres.session import SESSION, connect_arguments, make_ready
from infra.runtime.postgres.silence import left_when_silent

T = TypeVar("T")

_CONNECTIONS_MAX: Final = 8  # a process has two cores' worth of work for them; each costs the server some megabytes
_CONNECT_SECONDS: Final = 5.0
_SESSION_SECONDS: Final = 15.0  # until one of them is free, or opened
_OPENED_AT: Final = "opened_at"  # by the event loop's clock, in what the pool keeps of a connection
_log = get_logger(__name__)


class PostgresDatabase:
    """See `Database`. SQLAlchemy over asyncpg; work runs on the event loop, its statements await underneath."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Lock()
        self._kept: AsyncConnection | None = None
        self._trusted_since = 0.0
        self._outages = Outages()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        return await _to_its_end(self._read(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See `Database.write`."""
        return await _to_its_end(self._write(work))

    async def scrub(self) -> None:
        """See `Database.scrub`: VACUUM, the archived log and the backups are for those who run the server."""

    async def aclose(self) -> None:
        """Gives back the connection that is kept, once the write that uses it has ended."""
        async with self._turn:
            if self._kept is not None:
                await self._kept.close()

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with told_as_ours(self._outages):
            async with aclosing(await self._connected()) as connection:
                return await self._transact(connection, work, isolation="repeatable_read", readonly=True)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        """On a connection that is kept from one write to the next: fetching one is a third of a small transaction."""
        async with self._turn:
            with told_as_ours(self._outages):
                kept, self._kept = self._kept, None
                connection = await self._connected(kept)
                try:
                    result = await self._transact(connection, work, isolation="read_committed", readonly=False)
                except BaseException:
                    await connection.close()
                    raise
                self._kept = connection
                return result

    async def _connected(self, connection: AsyncConnection | None = None) -> AsyncConnection:
        """The one that was kept, or one of the pool's, opened after the last one that fell silent."""
        async with asyncio.timeout(_SESSION_SECONDS):
            while True:
                connection = connection or await self._engine.connect()
                session = await connection.get_raw_connection()
                if session.info[_OPENED_AT] >= self._trusted_since:
                    return connection
                driver: Any = session.driver_connection
                driver.terminate()
                await connection.invalidate()
                await connection.close()
                connection = None

    async def _transact(
        self, connection: AsyncConnection, work: Callable[[Connection], T], *, isolation: str, readonly: bool
    ) -> T:
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            with left_when_silent(driver, self._distrust):
                async with driver.transaction(isolation=isolation, readonly=readonly):
                    return await connection.run_sync(work)
        except (*LOST, DBAPIError):  # the next connection may lead to another server
            await connection.invalidate()
            raise

    def _distrust(self) -> None:
        """What has swallowed one session may have swallowed those that were opened before, too."""
        self._trusted_since = asyncio.get_running_loop().time()
        _log.warning("a session with PostgreSQL has fallen silent: it is left, and others that are as old")


async def _to_its_end(transaction: Coroutine[Any, Any, T]) -> T:
    """Awaits in a task of its own: a caller that is cancelled leaves a clean connection behind."""
    return await to_its_end(asyncio.create_task(transaction, name="sql"))


@asynccontextmanager
async def open_postgres(
    url: URL, *, service: str, migrations: Path, must_exist: bool = False
) -> AsyncIterator[PostgresDatabase]:
    """See `open_database`. The service's tables lie in the schema `stateset_<service>`."""
    name = f"stateset_{service}"
    shown = url.render_as_string(hide_password=True)
    connect_arguments(url)
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"),
        pool_size=_CONNECTIONS_MAX,
        max_overflow=0,
        pool_pre_ping=False,
        hide_parameters=True,  # personal data must not reach the log by way of an error
        # Transactions are begun and ended on the driver: SQLAlchemy would begin one only at its own first statement,
        # and those that work gives to the driver before that would each be committed at once. Nor has it anything to
        # roll back when a connection returns to the pool; where one cannot be trusted it is thrown away.
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "server_settings": {**SESSION, "search_path": name, "application_name": name},
        },
    )
    event.listen(engine.sync_engine, "connect", _make_ready)
    try:
        try:
            await reach(engine, name, migrations, must_exist=must_exist)
        except (*LOST, DBAPIError) as error:
            words = error.orig if isinstance(error, DBAPIError) else error  # without SQLAlchemy's own
            said = str(words) or "it does not answer"
            raise StartupError(
                f"cannot use {shown} ({said}): {advice(error)}, or name another with --database"
            ) from error
        await analyze(engine, name)
        async with aclosing(PostgresDatabase(engine)) as database:
            yield database
    finally:
        await engine.dispose()


def _make_ready(opened: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info[_OPENED_AT] = asyncio.get_running_loop().time()
    make_ready(opened.driver_connection)
