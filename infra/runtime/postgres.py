"""PostgreSQL: one URL for every service, a schema for each, any number of processes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from zlib import crc32

from asyncpg import exceptions as asyncpg_errors
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from infra.runtime import schema
from infra.runtime.database import DatabaseLockedError, DatabaseUnavailableError, Outages, to_its_end
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger

T = TypeVar("T")

_CONNECTIONS_MAX: Final = 8  # a process has two cores' worth of work for them; each costs the server some megabytes
_CONNECT_SECONDS: Final = 5.0
_SILENT_SECONDS: Final = 10  # of a server's kernel, which answers whatever the server itself is busy with
REACH_SECONDS: Final = 15.0  # a server that was killed replays its log first
_REACH_PAUSE_SECONDS: Final = 0.2
_PORT_MAX: Final = 65_535
# Of the driver's options those that are text, as in a URL everything is.
_OPTIONS: Final = frozenset(
    {*("host", "port", "user", "password", "database", "passfile"), *("ssl", "krbsrvname", "target_session_attrs")}
)
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})  # the second takes what it is given
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
_SESSION: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    # A process that is frozen in the middle of a transaction holds its locks for no longer than this.
    "idle_in_transaction_session_timeout": "2s",
    "jit": "off",  # short statements only: compiling costs more than it saves
    "standard_conforming_strings": "on",  # where a server has it off, a backslash in our SQL is an escape
}
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
_log = get_logger(__name__)


class _ReadOnlyError(StartupError):
    """The server takes no writes now; it may soon, as a standby that is being promoted does."""

    sqlstate = "25006"


class PostgresDatabase:
    """See `Database`. SQLAlchemy over asyncpg; work runs on the event loop, its statements await underneath."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Lock()
        self._kept: AsyncConnection | None = None
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
        with _told_as_ours(self._outages):
            async with self._engine.connect() as connection:
                return await _transact(connection, work, isolation="repeatable_read", readonly=True)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        """On a connection that is kept from one write to the next: fetching one is a third of a small transaction."""
        async with self._turn:
            with _told_as_ours(self._outages):
                connection, self._kept = self._kept or await self._engine.connect(), None
                try:
                    result = await _transact(connection, work, isolation="read_committed", readonly=False)
                except BaseException:
                    await connection.close()
                    raise
                self._kept = connection
                return result


async def _to_its_end(transaction: Coroutine[Any, Any, T]) -> T:
    """Awaits in a task of its own: a caller that is cancelled leaves a clean connection behind."""
    return await to_its_end(asyncio.create_task(transaction, name="sql"))


async def _transact(
    connection: AsyncConnection, work: Callable[[Connection], T], *, isolation: str, readonly: bool
) -> T:
    try:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.transaction(isolation=isolation, readonly=readonly):
            return await connection.run_sync(work)
    except (*LOST, DBAPIError):  # the next connection may lead to another server
        await connection.invalidate()
        raise


@contextmanager
def _told_as_ours(outages: Outages) -> Iterator[None]:
    try:
        yield
    except (*LOST, DBAPIError, PoolTimeoutError) as error:
        if _is_passing(error) or _is_shut_out(error):
            kind = DatabaseLockedError if _state(error) == _LOCKED else DatabaseUnavailableError
            ours = kind(f"PostgreSQL cannot be used now: {str(error) or 'it does not answer'}")
            outages.tell(ours)
            raise ours from error
        raise


def _is_passing(error: Exception) -> bool:
    """Whether the same work may succeed later, as it was the server or the way there that failed, or a lock."""
    if isinstance(error, DBAPIError) and (
        error.connection_invalidated
        or isinstance(error, (OperationalError, InterfaceError))
        or isinstance(error.driver_exception, asyncpg_errors.InternalClientError)  # see LOST
    ):
        return True
    state = _state(error)
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def _advice(error: Exception) -> str:
    """What to do about an error that did not pass."""
    state = _state(error)
    away = _is_passing(error) and state[:3] in _AWAY
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
            "server_settings": {**_SESSION, "search_path": name, "application_name": name},
        },
    )
    event.listen(engine.sync_engine, "connect", lambda opened, _record: _make_ready(opened.driver_connection))
    try:
        try:
            await _reach(engine, name, migrations, must_exist=must_exist)
        except (*LOST, DBAPIError) as error:
            words = error.orig if isinstance(error, DBAPIError) else error  # without SQLAlchemy's own
            said = str(words) or "it does not answer"
            raise StartupError(
                f"cannot use {shown} ({said}): {_advice(error)}, or name another with --database"
            ) from error
        await _analyze(engine, name)
        async with aclosing(PostgresDatabase(engine)) as database:
            yield database
    finally:
        await engine.dispose()


def connect_arguments(url: URL) -> dict[str, Any]:
    """What the URL says, as the driver is told it. By itself the driver reads some URLs otherwise.

    Raises:
        StartupError: It says what the driver cannot be told.
    """
    told = url.render_as_string(hide_password=True)
    unknown = sorted(url.query.keys() - _OPTIONS)
    if unknown:
        raise StartupError(f"the driver takes no {', '.join(unknown)}, as in {told}: leave it out (ssl=require is TLS)")
    reader: Any = dialect  # SQLAlchemy has no types for it
    try:
        arguments: dict[str, Any] = reader().create_connect_args(url)[1]
    except ArgumentError as error:
        raise StartupError(f"not a database URL that can be used: {told} ({error})") from error
    ports = arguments.get("port", [])
    for port in ports if isinstance(ports, list) else [ports]:
        if port > _PORT_MAX:
            raise StartupError(f"not a database URL that can be used: {told} (there is no port {port})")
    return arguments


def _make_ready(driver: Any) -> None:  # noqa: ANN401 - as below
    """A new session waits for the disk: the database may have been set otherwise since the service was started on it.

    Whoever has it wait for standbys, too, or in another way, is left that.
    """
    notice_silence(driver)
    try:
        await_only(driver.execute(_WAIT_FOR_DISK))
    except BaseException:
        driver.terminate()
        raise


def notice_silence(driver: Any) -> None:  # noqa: ANN401 - asyncpg has no types
    """Has the system end a connection to a machine that is gone without a word, which else takes a quarter of an hour.

    A limit to the time of statements would not do: the driver cancels what it stops waiting for, and a COMMIT that
    waits for a standby is then done without it.
    """
    connection = driver._transport.get_extra_info("socket")  # noqa: SLF001 - the driver shows it by no other way
    if connection.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):  # the second is Linux
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_SECONDS // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_SECONDS * 1000)


async def _reach(engine: AsyncEngine, name: str, migrations: Path, *, must_exist: bool) -> None:
    """Prepares the schema; a server that is just starting again is waited for."""
    until = asyncio.get_running_loop().time() + REACH_SECONDS
    while True:
        try:
            async with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                return await connection.run_sync(_prepare, name, migrations, must_exist)
        except (*LOST, DBAPIError, _ReadOnlyError) as error:
            if not _is_passing(error) or asyncio.get_running_loop().time() > until:
                raise
        await engine.dispose()  # a new session may find another server, or what this one is set to by now
        await asyncio.sleep(_REACH_PAUSE_SECONDS)


def _prepare(connection: Connection, name: str, migrations: Path, must_exist: bool) -> None:  # noqa: FBT001 - by run_sync
    """Checks before it changes anything; one process at a time, as others may start at this moment."""
    _refuse_unfit(connection, name)
    _take_turn(connection, name)
    _refuse_foreign(connection, name, migrations, must_exist=must_exist)
    connection.execute(text("SET LOCAL statement_timeout = 0"))  # a revision may index a large table
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))  # alembic is loaded meanwhile
    if not connection.execute(_SCHEMA, {"name": name}).scalar_one():  # IF NOT EXISTS wants the right to make one
        connection.execute(text(f'CREATE SCHEMA "{name}"'))
    schema.upgrade(connection, migrations)


async def _analyze(engine: AsyncEngine, name: str) -> None:
    """Counts what the planner goes by in those of our tables that have changed since: a restored one has no counts.

    Autovacuum comes by later where this cannot be done now, so nothing that others hold or forbid is worth a start.
    """
    try:
        async with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            tables = (await connection.execute(_UNCOUNTED, {"name": name})).scalars().all()
            if tables:
                await connection.execute(text("SET LOCAL statement_timeout = 0"))  # a large table on a slow disk
                await connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {', '.join(tables)}")
    except (*LOST, DBAPIError) as error:
        _log.warning("the tables could not be analyzed", error=str(error))


def _refuse_unfit(connection: Connection, name: str) -> None:
    """What could lose or not hold what it is given, and a pooler that does not pass on what sessions ask for."""
    asked = {**_SESSION, "search_path": name}
    names = [*asked, "server_encoding", "transaction_read_only"]
    shown = {row.name: row.value for row in connection.execute(_SETTINGS, {"names": names})}
    if shown["transaction_read_only"] == "on":
        if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
            raise _ReadOnlyError("the PostgreSQL server is a standby: promote it, or name the primary with --database")
        raise _ReadOnlyError(
            "transactions are read only on the PostgreSQL server: set default_transaction_read_only = off there, "
            "or name another with --database"
        )
    for setting in connection.execute(_OFF, {"names": list(_DURABLE)}).scalars():
        raise StartupError(f"the PostgreSQL server runs with {setting} = off and could lose what it has committed")
    if shown["server_encoding"] not in _ENCODINGS:
        raise StartupError(
            f"the encoding of the database, {shown['server_encoding']}, has not every character: "
            "name one of encoding UTF8 with --database"
        )
    for setting, value in asked.items():
        if shown[setting] != value:
            raise StartupError(
                f"sessions have {setting} = {shown[setting]} although {value} is asked for: "
                "name the server itself with --database, not a pooler that ignores it"
            )


def refuse_others(connection: Connection, service: str) -> None:
    """See `sql.refuse_in_use`. Who is there has a session, and who starts waits in `_prepare` for its turn."""
    name = f"stateset_{service}"
    _take_turn(connection, name)
    others = connection.execute(_OTHERS, {"name": name}).scalar_one()
    if others:
        raise StartupError(f"the {service} service runs on this database (sessions: {others}): stop it first")


_SETTINGS: Final = text("SELECT name, current_setting(name) AS value FROM unnest(CAST(:names AS text[])) AS name")
_SCHEMA: Final = text("SELECT count(*) FROM pg_namespace WHERE nspname = :name")

# What our tables could not be made beside: relations and types, also those to which the role has no right.
_NAMES: Final = text("""
    SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = :name
    UNION SELECT typname FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
    WHERE nspname = :name AND typcategory <> 'A'
    ORDER BY 1
""")
# What others have set, not what a session has set for itself.
_OFF: Final = text("SELECT name FROM pg_settings WHERE name = ANY(CAST(:names AS text[])) AND reset_val = 'off'")
_WAIT_FOR_DISK: Final = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
_UNCOUNTED: Final = text("""
    SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables
    WHERE schemaname = :name AND (COALESCE(last_analyze, last_autoanalyze) IS NULL OR n_mod_since_analyze > 0)
""")

# Every user may see the name of a session's application. What a service does besides, its news, begins with its name.
_OTHERS: Final = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND starts_with(application_name, :name)
""")


def _take_turn(connection: Connection, name: str) -> None:
    """Held until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": crc32(name.encode())})


def _refuse_foreign(connection: Connection, name: str, migrations: Path, *, must_exist: bool) -> None:
    names = connection.execute(_NAMES, {"name": name}).scalars().all()
    if must_exist and not names:
        raise StartupError(f"there is no schema {name} in this database: name the one that has it with --database")
    if names and "alembic_version" not in names:
        raise StartupError(
            f"the schema {name} holds {names[0]}, which is not ours: name another database with --database"
        )
    if names:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if revision is not None and revision not in schema.revisions(migrations):
            raise StartupError(f"the schema {name} was written by a newer version (revision {revision}): upgrade")
