"""The broker and the database that some benches stand on: found where there is one, started where there is not."""

import asyncio
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from asyncpg.exceptions import PostgresError
from sqlalchemy.engine import make_url

from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import Installation, LocalBroker
from infra.runtime.kafka.local.java import NoLocalKafkaError
from infra.runtime.lifespan import StartupError
from infra.runtime.postgres.server import prepare
from tests.bench.events import SHARDS
from tests.bench.processes import BenchError, cpu_seconds
from tests.harness.kafka_broker import BrokerProcess
from tests.harness.ports import free_ports

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
# Not in memory, as /tmp may be, and not below a folder of root's: PostgreSQL does not run as root.
_POSTGRES_PARENT: Final = Path("/var/tmp")  # noqa: S108 - the folder made in it has a name of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """A broker with empty topics for one log of `SHARDS` shards.

    Attributes:
        cluster: Where it is.
        prefix: What the names of the topics begin with.
        pid: The broker's process, if it is ours.
    """

    cluster: Cluster
    prefix: str
    pid: int | None

    @property
    def options(self) -> tuple[str, ...]:
        """What the services are told about it."""
        return ("--kafka-bootstrap-servers", self.cluster.servers, "--topic-prefix", self.prefix)

    def cpu_seconds(self) -> float:
        """The broker's CPU time so far; 0 if it runs somewhere else."""
        return 0.0 if self.pid is None else cpu_seconds(self.pid)


@contextmanager
def kafka(folder: Path) -> Iterator[Bus]:
    """The broker of STATESET_KAFKA_BOOTSTRAP_SERVERS, else one of our own with its records in the folder.

    Raises:
        BenchError: This machine has no Kafka.
    """
    with ExitStack() as stack:
        given = os.environ.get("STATESET_KAFKA_BOOTSTRAP_SERVERS")
        own = None if given else stack.enter_context(_own_broker(folder))
        bus = Bus(
            cluster=Cluster(servers=given or (own.address if own else "")),
            prefix=f"bench-{secrets.token_hex(4)}.",
            pid=own.pid if own else None,
        )
        admin = TopicAdmin(bus.cluster, shards=SHARDS, prefix=bus.prefix)
        try:
            asyncio.run(admin.apply())
        except StartupError as error:
            raise BenchError(str(error)) from error
        stack.callback(lambda: asyncio.run(admin.delete()))
        yield bus


@contextmanager
def _own_broker(folder: Path) -> Iterator[BrokerProcess]:
    try:
        installation = Installation.find(folder, os.environ)
        installation.complete(os.environ)
    except (NoLocalKafkaError, StartupError) as error:
        raise BenchError(f"not run without Kafka: {error}") from error
    port, controller_port = free_ports(2)
    broker = LocalBroker(installation=installation, folder=folder / "kafka", port=port, controller_port=controller_port)
    process = BrokerProcess(broker, folder / "kafka.log")
    try:
        process.start()
        yield process
    finally:
        process.stop()


@contextmanager
def postgres_database(folder: Path) -> Iterator[str]:
    """URL of an empty database on the server of STATESET_DATABASE_URL, else on one of our own, its fsync on.

    Args:
        folder: For the server's output.

    Raises:
        BenchError: This machine has no PostgreSQL.
    """
    with ExitStack() as stack:
        server = os.environ.get("STATESET_DATABASE_URL") or stack.enter_context(_own_postgres(folder / "postgres.log"))
        name = f"bench_{secrets.token_hex(6)}"
        asyncio.run(execute(server, f"CREATE DATABASE {name}"))
        stack.callback(lambda: asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)")))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)


@contextmanager
def _own_postgres(log: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="stateset-bench-", dir=_POSTGRES_PARENT) as parent:
        Path(parent).chmod(0o755)  # PostgreSQL's user has to pass
        try:
            url, command = prepare(Path(parent) / "postgres", *free_ports(1))
        except StartupError as error:
            raise BenchError(f"not run without PostgreSQL: {error}") from error
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as server,
        ):
            try:
                asyncio.run(_until_ready(url))
                yield url
            finally:
                server.terminate()
                server.wait(_STOP_SECONDS)


async def _until_ready(url: str) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                with suppress(OSError, PostgresError):
                    return await execute(url, "SELECT 1")
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise BenchError(f"PostgreSQL does not answer after {_START_SECONDS:.0f} s") from error


async def execute(url: str, statement: str) -> None:
    """Runs one statement, outside of any transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
