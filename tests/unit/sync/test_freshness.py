"""What a server that looks at its log every second notices of its own lag."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from infra.runtime.clock import ManualClock
from infra.runtime.grpc.draining import Draining
from sync.adapters.memory import MemorySource
from sync.application import freshness as module
from sync.application.freshness import Freshness
from sync.domain.log import LogHead
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

NOTICED_SECONDS = 10.0


class Bench:
    """A log, and a read model that stands where a test puts it. A look at the log's head takes a second."""

    def __init__(self) -> None:
        self.log = LogMaker()
        self.clock = ManualClock()
        self.freshness = Freshness(self.log.position, self.clock, Draining())
        self.meanwhile: Callable[[], object] = lambda: None
        self.log.source = TickingSource(self)
        self._began = self.clock.monotonic()

    @property
    def seconds(self) -> float:
        return self.clock.monotonic() - self._began

    async def for_seconds(self, seconds: float) -> None:
        until = self.seconds + seconds
        await eventually(lambda: self.seconds >= until)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.freshness.watch(self.log.source, lambda _seconds: None))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class TickingSource(MemorySource):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.log.log_epoch, bench.log.shards)
        self._bench = bench

    async def head(self) -> LogHead:
        self._bench.clock.advance(1)
        self._bench.meanwhile()
        return await super().head()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0)
    return Bench()


def stalled() -> float:
    return REGISTRY.get_sample_value("stateset_sync_stalled_shards") or 0.0


@pytest.mark.parametrize("idle_seconds", range(1, 9))
async def test_lag_without_progress_is_noticed_within_ten_seconds(bench: Bench, idle_seconds: int) -> None:
    async with bench.watching():
        await bench.for_seconds(idle_seconds)
        assert stalled() == 0
        bench.log.groups(30)
        began = bench.seconds
        await eventually(lambda: stalled() == bench.log.shards or bench.seconds > began + NOTICED_SECONDS)
        assert stalled() == bench.log.shards
        bench.freshness.move(bench.log.position)
        await eventually(lambda: stalled() == 0)


async def test_lag_with_progress_is_no_stall(bench: Bench) -> None:
    seen: list[float] = []

    def step() -> None:
        """The log runs away from a read model that is slow."""
        bench.log.groups(9)
        next_seqs = enumerate(bench.freshness.position.next_seq)
        bench.freshness.move(bench.freshness.position.moved({shard: seq + 1 for shard, seq in next_seqs}))
        seen.append(stalled())

    async with bench.watching():
        bench.meanwhile = step
        await bench.for_seconds(60)
    assert not any(seen)


def head_of(bench: Bench, read_time_us: int) -> LogHead:
    next_seq = bench.log.position.next_seq
    return LogHead(
        log_epoch=bench.log.log_epoch, next_seq=next_seq, earliest_seq=(1,) * len(next_seq), read_time_us=read_time_us
    )


@pytest.mark.parametrize("jump_us", [-3_600_000_000, 3_600_000_000])
def test_a_clock_that_jumps_neither_hides_staleness_nor_makes_it_up(bench: Bench, jump_us: int) -> None:
    """Of the Order Service; when it is right again, what was said under the wrong one is taken back."""
    freshness, clock = bench.freshness, bench.clock
    everywhere = freshness.position.next_seq, range(bench.log.shards)
    for off_us in (0, jump_us, 0):
        clock.advance(5)
        freshness.read(head_of(bench, clock.now_us() + off_us), clock.monotonic())
        assert (freshness.as_of_us, freshness.staleness_seconds()) == (clock.now_us() + off_us, 0)
        clock.advance(2)
        assert freshness.staleness_seconds() == 2
        assert freshness.behind_seconds(*everywhere) == 2


def test_before_the_head_is_covered_all_time_is_stale(bench: Bench) -> None:
    bench.log.groups(30)
    bench.freshness.read(head_of(bench, bench.clock.now_us()), bench.clock.monotonic())
    assert (bench.freshness.as_of_us, bench.freshness.staleness_seconds()) == (0, bench.clock.now_us() / 1e6)
    assert bench.freshness.behind_seconds(bench.freshness.position.next_seq, range(bench.log.shards)) is None


def test_a_reading_is_as_old_as_the_question(bench: Bench) -> None:
    asked_at = bench.clock.monotonic()
    bench.clock.advance(2)
    bench.freshness.read(head_of(bench, bench.clock.now_us()), asked_at)
    assert bench.freshness.staleness_seconds() == 2
