"""A real PostgreSQL for the tests: found where there is one, started where there is not."""

import asyncio
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from asyncpg.exceptions import PostgresError
from sqlalchemy.engine import make_url

from infra.runtime.lifespan import StartupError
from infra.runtime.postgres.server import prepare
from tests.harness.async_calls import call_async
from tests.harness.parts import missing
from tests.harness.ports import free_ports

_START_SECONDS = 30.0


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server: STATESET_DATABASE_URL, a container, or the machine's own programs, first that is there."""
    given = os.environ.get("STATESET_DATABASE_URL")
    if given:
        yield given
        return
    with _container() as url:
        if url:
            yield url
            return
    with _own_server(own_folder()) as url:
        yield url


def own_folder() -> Path:
    """Where a server of our own keeps its files: not below pytest's folder, which is root's alone."""
    return Path(f"/tmp/stateset-postgres-{uuid.uuid4().hex}")  # noqa: S108 - a name of its own


@asynccontextmanager
async def fresh_database(postgres_server: str) -> AsyncIterator[str]:
    """URL of a database that nobody has used yet."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(postgres_server, f"CREATE DATABASE {name}")
    yield make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    await _execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def _container() -> Iterator[str | None]:
    """A server in Docker, where an engine answers."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        yield None
        return
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415 - slow, and needed only here

    with PostgresContainer("postgres:17", driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def _own_server(folder: Path) -> Iterator[str]:
    with mortal_server(folder) as server:
        call_async(server.start)
        yield server.url


class MortalServer:
    """A server of the test's own, to kill and to start again."""

    def __init__(self, url: str, command: list[str]) -> None:
        self.url = url
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it takes connections; it is started anew as long as its predecessor is still dying."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                if self._process is None or self._process.poll() is not None:
                    quiet = subprocess.DEVNULL
                    self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)  # noqa: ASYNC220 - short
                with suppress(OSError, PostgresError):
                    await (await asyncpg.connect(self.url)).close()
                    return
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """At once; the server goes with its keeper."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """In an orderly way."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@contextmanager
def mortal_server(folder: Path) -> Iterator[MortalServer]:
    """A server with its files in the folder, not yet started."""
    try:
        url, command = prepare(folder, *free_ports(1))
    except StartupError as error:
        missing("PostgreSQL", str(error))
    server = MortalServer(url, command)
    try:
        yield server
    finally:
        server.stop()
        subprocess.run(["rm", "-rf", str(folder)], check=True)
