"""Where the services of a system store what they know: a file each, or one PostgreSQL with a schema each."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from asyncpg import exceptions

from infra.runtime.postgres import server as postgres_server
from infra.runtime.sql import shown
from infra.runtime.supervisor import Program

_PROBE_SECONDS: Final = 1.0
_CLUSTER: Final = "PG_VERSION"  # the file that makes a folder a cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPostgres:
    """A PostgreSQL server of our own, for one data folder.

    Attributes:
        folder: Its cluster; made when it first starts.
        port: Where it listens, on 127.0.0.1 only. It may change from one start to the next.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """What clients are told."""
        return postgres_server.url(self.port)

    async def program(self) -> Program:
        """For the supervisor. The cluster is made now if there is none.

        Raises:
            StartupError: There is no PostgreSQL to run, or the folder cannot be used.
        """
        _, command = await asyncio.to_thread(postgres_server.prepare, self.folder, self.port)
        return Program(name="postgres", command=tuple(command), is_ready=lambda: _answers(self.url))

    @property
    def exists(self) -> bool:
        """Whether the folder is a cluster by now."""
        return (self.folder / _CLUSTER).exists()

    def remove(self) -> None:
        """Removes the cluster of a server that does not run; a folder that is no cluster stays."""
        if self.exists:
            shutil.rmtree(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One database for every service.

    Attributes:
        url: What the services are told.
        server: The server beneath, if it is ours to run.
    """

    url: str
    server: LocalPostgres | None = None

    @property
    def shown(self) -> str:
        """The URL as people may see it."""
        return shown(self.url)


async def _answers(url: str) -> bool:
    """Whether a session can be opened. An open port is not enough: a server that was killed recovers first."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            connection = await asyncpg.connect(url)
            await connection.close()
    except (OSError, TimeoutError, exceptions.PostgresError, exceptions.InterfaceError):
        return False
    return True
