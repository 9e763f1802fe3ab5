"""SQLite, embedded: one file, one process, one writing thread and a few reading ones."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar
from zlib import crc32

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from infra.runtime import schema
from infra.runtime.database import DatabaseLockedError, DatabaseUnavailableError, Outages, to_its_end
from infra.runtime.lifespan import EndedError, StartupError
from infra.runtime.sql_numbers import add_functions

T = TypeVar("T")

_READERS: Final = 4  # threads; enough to keep both cores of a small machine busy, each costs one connection
_BUSY_TIMEOUT_MS: Final = 5000
_ANOTHER: Final = "name another file with --database"
_WAL_PAGES_MAX: Final = 20_000  # 80 MB between checkpoints: more spreads their cost further, and lengthens recovery


class SqliteDatabase:
    """See `Database`. SQLAlchemy's synchronous engine, on threads of our own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sql-write")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sql-read")
        self._outages = Outages()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        return await self._run(self._readers, work, "BEGIN")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See `Database.write`. The lock is taken at once: a transaction that reads first could not upgrade."""
        return await self._run(self._writer, work, "BEGIN IMMEDIATE")

    async def scrub(self) -> None:
        """See `Database.scrub`: pages of before an overwriting are in the write-ahead log until it is emptied."""
        await to_its_end(asyncio.get_running_loop().run_in_executor(self._writer, self._empty_log))

    def close(self) -> None:
        """Waits for the running work, then closes every connection."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    def _empty_log(self) -> None:
        with _told_as_ours(self._outages), self._engine.connect() as connection:
            (busy, *_) = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        if busy:
            raise DatabaseLockedError("SQLite cannot empty its write-ahead log: a read has lasted for too long")

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[Connection], T], begin: str) -> T:
        future = asyncio.get_running_loop().run_in_executor(threads, self._transact, work, begin)
        return await to_its_end(future)

    def _transact(self, work: Callable[[Connection], T], begin: str) -> T:
        with _told_as_ours(self._outages), self._engine.connect() as connection:
            connection.exec_driver_sql(begin)
            result = work(connection)
            connection.commit()
            return result


@contextmanager
def _told_as_ours(outages: Outages) -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OperationalError) as error:  # locked, full, unreadable
        locked = "database is locked" in str(error)
        kind = DatabaseLockedError if locked else DatabaseUnavailableError
        ours = kind(f"SQLite cannot be used now: {error}")
        outages.tell(ours)
        raise ours from error


@asynccontextmanager
async def open_sqlite(
    url: URL, *, service: str, migrations: Path, must_exist: bool = False
) -> AsyncIterator[SqliteDatabase]:
    """See `open_database`."""
    if not url.database:
        raise StartupError(f"{url} names no file: use sqlite:///path/to/file.db")
    path = Path(url.database)
    if must_exist:
        _refuse_missing(path)
    refuse_foreign(path, service, migrations)
    with _held_alone(path):
        engine = _engine(path)
        try:
            await asyncio.to_thread(_migrate, engine, service, migrations)
            database = SqliteDatabase(engine)
        except (sqlite3.OperationalError, OperationalError) as error:  # such as a disk that is full
            engine.dispose()
            said = error.orig if isinstance(error, OperationalError) else error
            raise EndedError(f"{path} cannot be used now ({said}): make room on its disk, or {_ANOTHER}") from error
        except BaseException:
            engine.dispose()
            raise
        try:
            yield database
        finally:
            await asyncio.to_thread(database.close)


def url_of(path: Path) -> str:
    """What names the file to `open_database`, whatever characters are in its name."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def _refuse_missing(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        raise StartupError(f"there is no database {path}: name the file that has it")


def refuse_foreign(path: Path, service: str, migrations: Path) -> None:
    """Looks at an existing file without changing a byte of it; a missing or empty one is anybody's.

    Raises:
        StartupError: It cannot be written, is not the service's, or is newer than this program.
    """
    if not path.exists():
        return
    if not os.access(path, os.W_OK):
        raise StartupError(f"{path} cannot be written: give this user the right to, or {_ANOTHER}")
    if path.stat().st_size == 0:
        return
    advice = f"{_ANOTHER}, or move {path} away"
    try:
        application_id, tables, revision = _look_at(path)
    except sqlite3.OperationalError as error:  # whosever it is: its folder cannot be written, or it is in use
        raise StartupError(f"{path} cannot be used ({error}): {advice}") from error
    except sqlite3.DatabaseError as error:
        raise StartupError(f"{path} is not a database of the {service} service ({error}): {advice}") from error
    if application_id == 0 and not tables:
        return  # a process of ours was killed before it could write its name
    if application_id != _application_id(service):
        raise StartupError(f"{path} is not a database of the {service} service: {advice}")
    if revision is not None and revision not in schema.revisions(migrations):
        raise StartupError(f"{path} was written by a newer version (revision {revision}): upgrade")


def has_rows(path: Path, service: str, table: str) -> bool:
    """Whether the file is the service's, and there is something in the table. Not a byte of it is changed."""
    if path.exists():
        with suppress(sqlite3.DatabaseError), closing(_open_to_look(path)) as connection:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            if application_id == _application_id(service):
                query = f"SELECT 1 FROM {table} LIMIT 1"  # noqa: S608 - a name of ours
                return connection.execute(query).fetchone() is not None
    return False


def _look_at(path: Path) -> tuple[int, set[str], str | None]:
    """The file's application id, its tables, and their revision if it says one."""
    with closing(_open_to_look(path)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "alembic_version" not in tables:
            return application_id, tables, None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return application_id, tables, row and row[0]


def _open_to_look(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _application_id(service: str) -> int:
    return crc32(f"stateset.{service}".encode()) & 0x7FFFFFFF


@contextmanager
def _held_alone(path: Path) -> Iterator[None]:
    with _open_lock(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartupError(f"{path} is open in another process: stop that one, or use another file") from error
        yield


def _open_lock(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{path.name}.lock").open("w")
    except OSError as error:
        raise StartupError(f"nothing can be written beside {path} ({error.strerror}): {_ANOTHER}") from error


def _engine(path: Path) -> Engine:
    engine = create_engine(
        url_of(path),
        poolclass=QueuePool,
        pool_size=_READERS + 1,
        max_overflow=0,
        hide_parameters=True,  # personal data must not reach the log by way of an error
        connect_args={"check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's signature
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            f"wal_autocheckpoint={_WAL_PAGES_MAX}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        add_functions(connection)

    return engine


def _migrate(engine: Engine, service: str, migrations: Path) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id = {_application_id(service)}")
        schema.upgrade(connection, migrations)
        connection.commit()
        connection.execute(text("ANALYZE"))
        connection.commit()
