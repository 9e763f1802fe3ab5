"""A consumer's parts in the test's own process, folding from a FakeSync, and as a process of its own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
from stateset_client import Projection, StreamLimits
from stateset_client.testing import FakeSync

from consumers.runner import Consumer, Frontier
from consumers.store import FoldSession
from infra.runtime.clock import SystemClock
from infra.runtime.database import Database
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import open_server
from infra.runtime.sql import open_database
from tests.harness.fake_sync_events import eventually

_END_SECONDS = 20.0

Session = TypeVar("Session", bound=FoldSession)


@dataclass(frozen=True, slots=True)
class Serving:
    """A consumer that folds and answers."""

    sync: FakeSync
    channel: grpc.aio.Channel
    frontier: Frontier


@asynccontextmanager
async def open_consumer(consumer: Consumer[Any], url: str) -> AsyncIterator[Database]:
    """The consumer's own database."""
    async with open_database(url, service=consumer.name, migrations=consumer.migrations) as database:
        yield database


@asynccontextmanager
async def serving(consumer: Consumer[Session], folder: Path, *, events_max: int = 5_000) -> AsyncIterator[Serving]:
    """The consumer's projection and its server, at work on a file in the folder."""
    async with (
        FakeSync.start(shards=3) as sync,
        open_consumer(consumer, f"sqlite:///{folder}/{consumer.name}.db") as database,
    ):
        frontier = Frontier(SystemClock(), Draining())
        services = consumer.services(database, frontier)
        projection = Projection(
            sync.address,
            consumer.name,
            store=consumer.store(database),
            apply=consumer.apply,
            events_max=events_max,
            limits=StreamLimits(heartbeat_seconds=0.5, batch_events_max=min(500, events_max)),
            on_commit=frontier.advance,
        )
        async with (
            open_server("127.0.0.1:0", services, domain="test", errors={}, draining=Draining()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            asyncio.TaskGroup() as tasks,  # a projection that ends by itself fails the test that it is for
        ):
            folding = tasks.create_task(projection.run(), name="projection")
            yield Serving(sync, channel, frontier)
            folding.cancel()


@asynccontextmanager
async def consumer_process(name: str, sync: FakeSync, folder: Path) -> AsyncIterator[Process]:
    """`python -m consumers.NAME`, on a file in the folder; killed when the context ends, if it still runs."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"consumers.{name}", "--database", f"sqlite:///{folder}/{name}.db"),
        *("--sync-address", sync.address, "--grpc-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"),
        stderr=PIPE,
        env={variable: value for variable, value in os.environ.items() if not variable.startswith("STATESET_")},
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.communicate()


async def stop(process: Process) -> int | None:
    """Asks it to stop; its exit code."""
    process.send_signal(signal.SIGTERM)
    await last_line(process)
    return process.returncode


async def last_line(process: Process) -> str:
    """Waits until it has ended; the last line that it said."""
    return (await lines(process))[-1]


async def lines(process: Process) -> list[str]:
    """Waits until it has ended; all that it said."""
    async with asyncio.timeout(_END_SECONDS):
        _, said = await process.communicate()
    return said.decode().splitlines()


async def caught_up(name: str, sync: FakeSync) -> None:
    """Waits until the consumer has told the server that everything is durable."""
    await eventually(lambda: sync.floors.get(name) == sync.head, within_seconds=30)
