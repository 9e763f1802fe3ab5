"""Several Order Services on one PostgreSQL, each a process of its own, behind one shared address."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stateset_client import OrderClient

from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderWorker:
    """One of them: where it alone can be reached, and its process."""

    address: str
    process: asyncio.subprocess.Process


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderWorkers:
    """All of them.

    Attributes:
        address: What they share.
        each: One by one.
    """

    address: str
    each: Sequence[OrderWorker]


@asynccontextmanager
async def order_workers(folder: Path, database: str, *options: str, count: int = 2) -> AsyncIterator[OrderWorkers]:
    """So many workers, started at the same moment; all of them serve."""
    shared = free_address()
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(count):
            address = free_address()
            process = await stack.enter_async_context(
                running("order", folder, address, "--grpc-shared-address", shared, *options, database=database)
            )
            workers.append(OrderWorker(address=address, process=process))
        for worker in workers:
            async with connected(worker.address):
                pass
        yield OrderWorkers(address=shared, each=workers)


@asynccontextmanager
async def clients_of(workers: OrderWorkers) -> AsyncIterator[list[OrderClient]]:
    """A client of each worker, by its own address."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(OrderClient.connect(each.address)) for each in workers.each]
