"""Before a service works on a PostgreSQL server: what is refused there, its schema, and what the planner goes by."""

import asyncio
from pathlib import Path
from typing import Final
from zlib import crc32

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.runtime import schema
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from infra.runtime.postgres.errors import LOST, is_passing
from infra.runtime.postgres.session import SESSION

REACH_SECONDS: Final = 15.0  # a server that was killed replays its log first
_REACH_PAUSE_SECONDS: Final = 0.2
_ENCODINGS: Final = frozenset({"UTF8", "SQL_ASCII"})  # the second takes what it is given
_DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
_log = get_logger(__name__)


class _ReadOnlyError(StartupError):
    """The server takes no writes now; it may soon, as a standby that is being promoted does."""

    sqlstate = "25006"


async def reach(engine: AsyncEngine, name: str, migrations: Path, *, must_exist: bool) -> None:
    """Prepares the schema; a server that is just starting again is waited for."""
    until = asyncio.get_running_loop().time() + REACH_SECONDS
    while True:
        try:
            async with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
                return await connection.run_sync(_prepare, name, migrations, must_exist)
        except (*LOST, DBAPIError, _ReadOnlyError) as error:
            if not is_passing(error) or asyncio.get_running_loop().time() > until:
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


async def analyze(engine: AsyncEngine, name: str) -> None:
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
    asked = {**SESSION, "search_path": name}
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
_UNCOUNTED: Final = text("""
    SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables
    WHERE schemaname = :name AND (COALESCE(last_analyze, last_autoanalyze) IS NULL OR n_mod_since_analyze > 0)
""")

# Every user may see the name of a session's application. What a service does besides, its news, begins with its name.
_OTHERS: Final = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND starts_with(application_name, :name)
""")
