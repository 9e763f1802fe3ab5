"""Acks of single events under live load, while the Sync Server is killed, frozen and its streams are superseded."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc.aio
import pytest

from tests.harness.ack_history import Entry, violations
from tests.harness.acked_load import AckedLoad, parked, replay_all
from tests.harness.faults import seed, times
from tests.harness.ports import free_address
from tests.harness.sync_log import LogMaker
from tests.harness.sync_order_server import FakeOrderService, serve_orders
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound

ORDERS = 12
BETWEEN_FAULTS = 60  # events
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.5  # between two looks at the whole history, which take time from the subscribers
ENTRIES_AN_EVENT_MAX = 50  # of the history: deliveries, outcomes and their answers


class Campaign:
    """One server process after the other on one database, and the load on it."""

    def __init__(self, folder: Path, order_address: str, log: LogMaker, number: int) -> None:
        self.log = log
        self.load = AckedLoad(number)
        self.address = free_address()
        self.drawn = random.Random(number)  # noqa: S311 - the seed is the point
        self._folder = folder
        self._options = ("--order-address", order_address, "--breaker-outcomes", "1000")

    @asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, grpc.aio.Channel]]:
        async with (
            running("sync", self._folder, self.address, *self._options) as process,
            connected(self.address) as channel,
        ):
            yield process, channel

    def publish(self, number: int) -> None:
        for _ in range(number):
            self.log.group(f"o-{self.drawn.randrange(ORDERS)}", size=self.drawn.randrange(1, 3))

    async def goes_on(self) -> None:
        """Until some more outcomes were answered, each time another number of them."""
        before, more = len(self.load.history), self.drawn.randrange(5, BETWEEN_FAULTS)
        self.publish(BETWEEN_FAULTS)
        await eventually(lambda: len(self.load.history) >= before + more, within_seconds=SETTLE_SECONDS)

    async def drain(self, channel: grpc.aio.Channel) -> None:
        """Until everything is finished, what was parked included, or nothing moves any more."""
        moves = True
        while moves and (await parked(channel) or violations(self.load.history, self.events, set())):
            assert len(self.load.history) < ENTRIES_AN_EVENT_MAX * len(self.events), "the same comes again and again"
            await replay_all(channel)
            moves = await self._moves()
        assert violations(self.load.history, self.events, set()) == []
        assert await parked(channel) == set()

    async def _moves(self) -> bool:
        before = len(self.load.history)
        with suppress(TimeoutError):
            await eventually(lambda: len(self.load.history) > before, within_seconds=SETTLE_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)
            return True
        return False

    def fenced(self) -> int:
        """How many streams were told that they are superseded."""
        return len({entry.stream for entry in self.load.history if entry.status == "FENCED"})

    @property
    def events(self) -> list[tuple[tuple[int, int], tuple[str, int]]]:
        return [
            ((batch.shard, event.seq), (event.order.order_id, event.order.version))
            for batch in self.log.batches
            for event in batch.events
        ]


@asynccontextmanager
async def campaign(folder: Path) -> AsyncIterator[Campaign]:
    number = seed()
    sys.stderr.write(f"SEED={number}\n")
    log = LogMaker()
    async with serve_orders(FakeOrderService(log)) as order_address:
        yield Campaign(folder, order_address, log, number)


async def test_acks_stay_true_though_the_sync_server_is_killed_again_and_again(tmp_path: Path) -> None:
    async with campaign(tmp_path) as run, run.load.subscriber(run.address):
        for _ in range(times()):
            async with run.server() as (process, _):
                await run.goes_on()
                process.kill()
                await process.wait()
        async with run.server() as (_, channel):
            await run.drain(channel)


async def test_acks_of_a_stream_that_was_superseded_change_nothing_though_the_server_was_frozen_between(
    tmp_path: Path,
) -> None:
    async with campaign(tmp_path) as run, run.server() as (process, channel), AsyncExitStack() as subscribers:
        await subscribers.enter_async_context(run.load.subscriber(run.address))
        for number in range(times()):
            await run.goes_on()
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(run.drawn.uniform(0.2, 1.0))  # no wait for anything: the fault is as long as this
            process.send_signal(signal.SIGCONT)
            await subscribers.enter_async_context(run.load.subscriber(run.address))
            await run.goes_on()
            await eventually(lambda number=number: run.fenced() > number, within_seconds=SETTLE_SECONDS)  # type: ignore[misc]  # bound early, for the linter's sake
        await run.drain(channel)


def entry(kind: str, version: int, *, stream: int = 1, outcome: str = "", status: str = "") -> Entry:
    return Entry(
        kind=kind,  # type: ignore[arg-type]  # one of its three
        stream=stream,
        place=(0, version),
        order=("o-1", version),
        outcome=outcome,
        status=status,
    )


def done(version: int, *, stream: int = 1, status: str = "COMMITTED") -> list[Entry]:
    return [
        entry("delivered", version, stream=stream),
        entry("asked", version, stream=stream, outcome="DONE"),
        entry("settled", version, stream=stream, outcome="DONE", status=status),
    ]


LOG = [((0, version), ("o-1", version)) for version in (1, 2, 3)]
GOOD = [*done(1), *done(2), *done(3)]


def delivered_again(history: list[Entry]) -> list[Entry]:
    return [*history, entry("delivered", 2, stream=2)]


def reordered(_: list[Entry]) -> list[Entry]:
    return [*done(2), *done(1), *done(3)]


def zombie(history: list[Entry]) -> list[Entry]:
    return [*history[:6], entry("delivered", 3, stream=2), *history[6:]]


def swallowed(history: list[Entry]) -> list[Entry]:
    return history[:6]


@pytest.mark.parametrize(
    ("bug", "found"),
    [
        (delivered_again, "delivered again after COMMITTED"),
        (reordered, "finished out of order"),
        (zombie, "committed for stream 1 after stream 2 was open"),
        (swallowed, "lost"),
    ],
)
def test_the_checker_finds_what_was_planted(bug: Callable[[list[Entry]], list[Entry]], found: str) -> None:
    assert violations(GOOD, LOG, set()) == []
    assert any(each.startswith(found) for each in violations(bug(GOOD), LOG, set()))
