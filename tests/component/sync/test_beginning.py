"""A read model that is new, above all on a log that was trimmed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import pytest

from infra.kernel.filter import EVERYTHING
from infra.kernel.position import Position
from infra.runtime.lifespan import StartupError
from sync.adapters.memory import MemoryReadModel, MemorySource
from sync.application import beginning as module
from sync.application import judgment
from sync.application.beginning import Beginning
from sync.application.ports import ReadModel, SourceUnavailableError
from sync.domain.log import LogHead, OrderRow
from tests.harness.sync_log import LogMaker


class BusySource(MemorySource):
    """While its orders are listed, others change."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        async for page in super().orders():
            self.meanwhile()
            yield page


class Bench:
    """A log of which nothing is kept but its orders."""

    def __init__(self) -> None:
        self.log = LogMaker()
        self.source = BusySource(self.log.log_epoch, self.log.shards)
        self.log.source = self.source
        self.log.groups(20, size=2)
        for shard, seq in enumerate(self.log.position.next_seq):
            self.source.trim(shard, seq)

    async def begun(self, read_model: ReadModel) -> Position:
        async with asyncio.timeout(10):
            return await Beginning(read_model, self.source).position()

    async def is_whole(self, read_model: ReadModel) -> bool:
        """Whether the read model is what the log, read from its first event to the position, would have left."""
        position, digest = await read_model.digest(EVERYTHING)
        expected = MemoryReadModel()
        await expected.begin(self.log.earliest)
        for event in self.log.events:
            shard = next(batch.shard for batch in self.log.batches if event in batch.events)
            if event.seq < position.next_seq[shard]:
                await expected.apply([event.order], self.log.earliest)
        return digest == (await expected.digest(EVERYTHING))[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "_FILL_PAUSE_SECONDS", 0.0)
    return Bench()


async def test_one_on_a_trimmed_log_has_every_order(bench: Bench) -> None:
    model = MemoryReadModel()
    assert await bench.begun(model) == bench.log.position
    assert await bench.is_whole(model)
    assert bench.source.confirmed == bench.log.position, "nothing is trimmed meanwhile"


async def test_what_happens_meanwhile_is_covered_before_anything_is_served(bench: Bench) -> None:
    def change() -> None:
        bench.log.group("o-1")
        bench.log.group("o-20", size=2)
        bench.log.groups(1)

    bench.source.meanwhile = change
    model = MemoryReadModel()
    assert await bench.begun(model) == bench.log.position
    assert await bench.is_whole(model)


async def test_one_that_was_not_filled_to_the_end_is_filled_again(bench: Bench) -> None:
    model, failures = MemoryReadModel(), 2

    def fail() -> None:
        nonlocal failures
        failures -= 1
        bench.log.group("o-1")
        if failures >= 0:
            raise SourceUnavailableError("turned off")

    bench.source.meanwhile = fail
    await bench.begun(model)
    assert failures < 0
    assert await bench.is_whole(model)


async def test_one_that_another_server_fills_is_taken_as_it_is(bench: Bench) -> None:
    model = MemoryReadModel()
    filled: list[Position] = []

    async def other() -> None:
        filled.append(await Beginning(model, bench.log.source).position())

    bench.source.meanwhile = lambda: others.append(asyncio.ensure_future(other())) if not others else None
    others: list[asyncio.Future[None]] = []
    begun = await bench.begun(model)
    await asyncio.gather(*others)
    assert begun == filled[0] == await model.position()
    assert await bench.is_whole(model)


async def test_one_that_is_half_filled_waits_for_its_own_log(bench: Bench) -> None:
    model = MemoryReadModel()
    await model.begin(bench.log.earliest._replace(next_seq=(0, 0, 0)))
    bench.source.available = False
    beginning = asyncio.create_task(bench.begun(model))
    await asyncio.sleep(0)
    bench.source.available = True
    assert await beginning == bench.log.position
    another = MemoryReadModel()
    await another.begin(Position(log_epoch="another", next_seq=(0, 0, 0)))
    with pytest.raises(StartupError, match="another"):
        await bench.begun(another)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgment, "_ASKED_SECONDS", (0.0, 0.0))


@pytest.mark.usefixtures("_quick")
async def test_one_that_is_ahead_of_its_log_is_never_served_again_though_the_log_comes_as_far() -> None:
    log, model = LogMaker(), MemoryReadModel()
    await model.begin(log.position.moved({0: 9}))
    with pytest.raises(StartupError, match=r"cannot go on .* restored .* `stateset log new-epoch`"):
        await Beginning(model, log.source).position()
    log.groups(60)
    assert log.position.next_seq[0] > 9
    for log.source.available in (True, False):
        with pytest.raises(
            StartupError, match=r"was ahead of .* `stateset log new-epoch`.*another file with --database"
        ):
            await Beginning(model, log.source).position()


class LateSource(MemorySource):
    """Of one of several Order Services, which has not heard at first of what another has committed."""

    late = 2

    async def head(self) -> LogHead:
        self.late -= 1
        head = await super().head()
        return head if self.late < 0 else replace(head, next_seq=(1,) * len(head.next_seq))


@pytest.mark.usefixtures("_quick")
async def test_one_that_only_seems_to_be_ahead_is_asked_about_again() -> None:
    log, model = LogMaker(), MemoryReadModel()
    log.source = LateSource(log.log_epoch, log.shards)
    log.groups(9)
    await model.begin(log.position)
    assert await Beginning(model, log.source).position() == log.position


async def test_one_on_a_whole_log_begins_at_its_first_event(bench: Bench) -> None:
    log, model = LogMaker(), MemoryReadModel()
    log.groups(5)
    assert await Beginning(model, log.source).position() == log.earliest
    assert (await model.digest(EVERYTHING))[1].count == 0
