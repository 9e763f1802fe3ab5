"""When the relay commits what it has sent: soon where nothing more comes, together where much does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from infra.runtime.clock import ManualClock
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.heads import Heads
from order.application.ports import LoggedEvent
from order.application.relay import Relay
from order.application.relay_ports import Cursor, Cursors
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from tests.harness.orders import place, submission
from tests.harness.waiting import eventually

SHARDS = 3


class OneLease:
    """A lease that nobody else wants."""

    async def acquire(self) -> int | None:
        return 1

    async def keep(self, _epoch: int, _cursors: Cursors) -> bool:
        return True

    async def release(self, _epoch: int) -> None:
        pass

    async def cursors(self) -> Cursors:
        return {}


class ListedPublication:
    """Lists what it was told to do."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.commit_seconds = 0.0
        self.sent: list[LoggedEvent] = []
        self.commits: list[int] = []
        self.calls = 0

    @property
    def cursors(self) -> Cursors:
        return {("events", shard): Cursor(topic_id="t", next_seq=1) for shard in range(SHARDS)}

    @property
    def next_seqs(self) -> list[int]:
        return [1] * SHARDS

    async def publish(self, runs: Sequence[Sequence[LoggedEvent]]) -> None:
        self.calls += 1
        self.sent += [event for run in runs for event in run]

    async def commit(self) -> None:
        self._clock.advance(self.commit_seconds)
        self.commits.append(len(self.sent))

    async def is_intact(self) -> bool:
        return True


class EmptyBus:
    """Nothing is on it when it is taken over."""

    def __init__(self, publication: ListedPublication) -> None:
        self._publication = publication

    async def next_seqs(self) -> list[int]:
        return [1] * SHARDS

    @asynccontextmanager
    async def take_over(self, _kept: Cursors, _earliest: Sequence[int]) -> AsyncIterator[ListedPublication]:
        yield self._publication


class Bench:
    """A relay over a log in memory, and how much it has done."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.bus = ListedPublication(clock)
        self.log = MemoryLog(SHARDS)
        self.heads = Heads(self.log.log_epoch, [1] * SHARDS)
        codec = WireCodec(self.log.log_epoch, SHARDS)
        self.writer = Writer(self.log, codec, self.heads, clock, WriterLimits(), Policy())
        self.relay = Relay(self.log, self.heads, OneLease(), EmptyBus(self.bus), clock)
        self._orders = 0

    async def place(self, orders: int) -> None:
        first, self._orders = self._orders, self._orders + orders
        ids = [f"o-{number}" for number in range(first, self._orders)]
        await asyncio.gather(*(self.writer.submit(submission(place(1, order_id=each))) for each in ids))

    async def keep_placing(self, orders: int, *, committed: int) -> None:
        """An order every 30 ms, none of which is committed meanwhile."""
        for sent in range(self._orders + 1, self._orders + orders + 1):
            await self.place(1)
            await self.until(sent=sent, committed=committed)
            self.clock.advance(0.03)

    async def until(self, *, sent: int, committed: int) -> None:
        await eventually(lambda: (len(self.bus.sent), (self.bus.commits or [0])[-1]) == (sent, committed))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(ManualClock())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bench.writer.running())
        await stack.enter_async_context(bench.relay.running())
        yield bench


async def test_a_lone_event_is_committed_once_nothing_more_comes(bench: Bench) -> None:
    await bench.place(1)
    await bench.until(sent=1, committed=0)
    bench.clock.advance(0.06)
    await bench.until(sent=1, committed=1)


async def test_events_that_keep_coming_are_committed_together(bench: Bench) -> None:
    await bench.keep_placing(8, committed=0)
    bench.clock.advance(0.02)
    await bench.until(sent=8, committed=8)
    assert len(bench.bus.commits) == 1


async def test_slow_commits_are_made_less_often(bench: Bench) -> None:
    bench.bus.commit_seconds = 0.1
    await bench.keep_placing(8, committed=0)
    bench.clock.advance(0.02)
    await bench.until(sent=8, committed=8)
    await bench.keep_placing(33, committed=8)
    bench.clock.advance(0.02)
    await bench.until(sent=41, committed=41)


async def test_what_several_shards_have_is_sent_in_one_call(bench: Bench) -> None:
    await bench.place(1)
    await bench.until(sent=1, committed=0)
    calls = bench.bus.calls
    await bench.place(30)
    await bench.until(sent=31, committed=0)
    assert bench.bus.calls == calls + 1
    assert {event.shard for event in bench.bus.sent} == set(range(SHARDS))


async def test_the_time_to_the_bus_counts_until_the_commit(bench: Bench) -> None:
    before = REGISTRY.get_sample_value("stateset_order_relay_hop_seconds_sum") or 0.0
    await bench.place(1)
    await bench.until(sent=1, committed=0)
    bench.clock.advance(0.2)
    await bench.until(sent=1, committed=1)
    assert REGISTRY.get_sample_value("stateset_order_relay_hop_seconds_sum") == pytest.approx(before + 0.2)
