"""One run: traffic and readers on services that run, then the verdict on what they have seen."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio
from stateset.order.v1.log_service_pb2 import GetLogHeadRequest
from stateset.order.v1.log_service_pb2_grpc import LogServiceStub

from tests.guarantees.calls import Calls, channels
from tests.guarantees.commands import CUSTOMERS
from tests.guarantees.history import Drained, History, now_ns, read_history
from tests.guarantees.model import Verdict, judge
from tests.guarantees.readers import Reader, readers
from tests.guarantees.traffic import Client, Pool, Turns
from tests.guarantees.truth import Truth
from tests.harness.waiting import eventually_async

CAUGHT_UP_SECONDS: Final = 30.0  # G17: after the last fault
_CLIENTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Where traffic goes.

    Attributes:
        order: Addresses of the Order Services, all of them on one log.
        sync: Address of a Sync Server on that log.
        http: Address of its gateway.
        database: The URL of the log's database.
    """

    order: tuple[str, ...]
    sync: str
    http: str
    database: str


@dataclass(slots=True, kw_only=True)
class Run:
    """Traffic under way.

    Attributes:
        history: What it writes.
        turns: How much of it there is to be.
        operations: How much there was.
        after_operation: Awaited after each operation, with how many there were.
        verdict: There once the context has ended.
    """

    history: History
    turns: Turns
    operations: int = 0
    after_operation: Callable[[int], Awaitable[None]] | None = None
    verdict: Verdict | None = None

    async def perform(self, operations: int) -> None:
        """So many operations, from the first to the end of the last."""
        self.turns.grant(operations)
        await self.turns.spent()

    async def count(self) -> None:
        """One more operation has ended."""
        self.operations += 1
        if self.after_operation is not None:
            await self.after_operation(self.operations)

    @property
    def judged(self) -> Verdict:
        """The verdict."""
        assert self.verdict is not None, "the run has not ended"
        return self.verdict


@asynccontextmanager
async def traffic(
    services: Services,
    file: Path,
    *,
    seed: int,
    caught_up_seconds: float = CAUGHT_UP_SECONDS,
    tell: Callable[[str], None] = print,
) -> AsyncIterator[Run]:
    """Traffic and readers while the context lasts; their history goes into the file.

    When it ends, operations that have their turn are finished, readers have `caught_up_seconds` to see everything, and
    the verdict is made.
    """
    tell(f"traffic with SEED={seed}, whose history is {file}")
    with History.written_to(file) as history:
        async with AsyncExitStack() as stack:
            order = await stack.enter_async_context(channels(services.order))
            [sync] = await stack.enter_async_context(channels([services.sync]))
            head = await LogServiceStub(order[0]).GetLogHead(GetLogHeadRequest(), wait_for_ready=True)
            calls = Calls(order, sync, history, log_epoch=head.log_epoch, shards=len(head.shards))
            reading = readers(order, sync, services.http, history, CUSTOMERS[0], log_epoch=head.log_epoch)
            run = Run(history=history, turns=Turns())
            async with _at_work(reading):
                async with asyncio.TaskGroup() as tasks:
                    pool = Pool(f"t-{seed}")
                    for number in range(_CLIENTS):
                        client = Client(f"{seed}-client-{number}", calls, pool, history, seed)
                        tasks.create_task(client.run(run.turns, run.count), name=f"client-{number}")
                    try:
                        yield run
                    finally:
                        run.turns.end()
                await _caught_up(order[0], reading, caught_up_seconds)
        history.note(Drained(now_ns()))
    run.verdict = await _verdict(file, services.database)
    tell(_told(run.verdict, seed))


@asynccontextmanager
async def _at_work(reading: list[Reader]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(reader.run(), name=f"read {reader.name}") for reader in reading]
        yield
        for task in running:
            task.cancel()


async def _caught_up(order: grpc.aio.Channel, reading: list[Reader], within_seconds: float) -> None:
    """Returns when every reader stands at the head of the log, or the time for that is over."""
    # The last restart may just be over, and this channel still wait before it tries again.
    head = await LogServiceStub(order).GetLogHead(GetLogHeadRequest(), wait_for_ready=True, timeout=within_seconds)
    heads = [shard.next_seq for shard in sorted(head.shards, key=lambda shard: shard.shard)]

    async def all_there() -> bool:
        return all(reader.has_reached(heads) for reader in reading)

    try:
        await eventually_async(all_there, within_seconds=within_seconds)
    except TimeoutError:
        return  # the history shows who was left behind, and where


async def _verdict(file: Path, database: str) -> Verdict:
    truth = await Truth.of(database)
    return await asyncio.to_thread(lambda: judge(read_history(file), truth))


def _told(verdict: Verdict, seed: int) -> str:
    anomalies = sum(verdict.counted.values())
    lines = [
        f"SEED={seed}: {verdict.acknowledged} commands acknowledged, {verdict.reads} reads",
        f"{verdict.delivered} events delivered, {verdict.faults} faults, {anomalies} anomalies {dict(verdict.counted)}",
        f"calls: {dict(sorted(verdict.outcomes.items()))}",
        *(f"{anomaly.name}: {anomaly.facts}" for anomaly in verdict.anomalies),
    ]
    return "\n".join(lines)
