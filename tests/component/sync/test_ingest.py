"""From the log into read model and ring: what is repeated, what is missing, what belongs to another log."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import LogEpochChangedError, Position, PositionExpiredError
from infra.runtime.lifespan import StartupError
from sync.adapters.memory import MemoryReadModel, MemorySource
from sync.application import judgment
from sync.application.ingest import proved
from sync.domain.errors import LogHoleError
from sync.domain.log import Batch
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker

ALL = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)


class FaultySource(MemorySource):
    """A log that hands on what `distort` makes of its first reading."""

    distort: Callable[[Batch], Batch | None] = staticmethod(lambda batch: batch)

    async def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        distort, self.distort = self.distort, lambda batch: batch
        async with aclosing(super().follow(start)) as arrivals:
            async for (batch,) in arrivals:
                distorted = distort(batch)
                if distorted is not None:
                    yield (distorted,)


def faulty(log: LogMaker, distort: Callable[[Batch], Batch | None]) -> FaultySource:
    source = FaultySource(log.log_epoch, log.shards)
    source.distort = distort
    log.source = source
    return source


def without_second(batch: Batch) -> Batch:
    return replace(batch, events=[event for event in batch.events if event.seq != 2])


async def test_a_missing_number_stops_the_source_and_is_read_again_from_the_last_good_position() -> None:
    log = LogMaker()
    source = faulty(log, without_second)
    log.groups(30)
    holes = REGISTRY.get_sample_value("stateset_sync_log_holes_total") or 0
    async with open_server(source) as client:
        stream = client.stream_events(stream_pb2.Open(start=ALL))
        await stream.until_events(30)
        assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in stream.seqs().values())
    assert holes + 1 == REGISTRY.get_sample_value("stateset_sync_log_holes_total")


async def test_what_is_repeated_is_dropped() -> None:
    batch = LogMaker(1).group(size=5)
    received = Position(log_epoch=batch.events[0].log_epoch, next_seq=(3,))
    news = proved(batch, received)
    assert news is not None
    assert (news.first_seq, [event.seq for event in news.events]) == (3, [3, 4, 5])
    assert proved(batch, received.moved({0: 6})) is None


def test_a_hole_is_seen_before_within_and_after_a_batch() -> None:
    batch = LogMaker(1).group(size=5)
    start = Position(log_epoch=batch.events[0].log_epoch, next_seq=(1,))
    cut_short = replace(batch, events=batch.events[:4])
    late = replace(batch, first_seq=2, events=batch.events[1:])
    for distorted, missing in ((late, 1), (without_second(batch), 2), (cut_short, 5)):
        with pytest.raises(LogHoleError) as raised:
            proved(distorted, start)
        assert (raised.value.expected, raised.value.got) == (missing, missing + 1)


def test_an_event_of_another_log_is_refused() -> None:
    batch = LogMaker(1).group()
    with pytest.raises(LogEpochChangedError):
        proved(batch, Position(log_epoch="another", next_seq=(1,)))


async def test_a_read_model_of_another_log_does_not_start() -> None:
    read_model = MemoryReadModel()
    await read_model.begin(Position.earliest("another", 3))
    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(20), open_server(LogMaker().source, read_model=read_model):
            await asyncio.Event().wait()
    assert raised.group_contains(StartupError, depth=None, match="of log another")


async def test_a_server_that_cannot_go_on_says_goodbye_to_its_streams() -> None:
    log = LogMaker()
    lost = asyncio.Event()

    def until_lost(batch: Batch) -> Batch:
        if lost.is_set():
            raise PositionExpiredError(batch.shard, 1, 99)
        return batch

    source = faulty(log, until_lost)
    goodbye: list[asyncio.Task[object]] = []

    async def serve() -> None:
        async with asyncio.timeout(20), open_server(source) as client:
            stream = client.stream_events(stream_pb2.Open(start=ALL))
            await stream.until("opened")
            goodbye.append(asyncio.create_task(stream.until("go_away"), name="goodbye"))
            lost.set()
            log.groups(1)
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as raised:
        await serve()
    assert raised.group_contains(StartupError)
    await goodbye[0]


async def test_a_read_model_ahead_of_the_log_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogMaker()
    monkeypatch.setattr(judgment, "_ASKED_SECONDS", ())
    read_model = MemoryReadModel()
    await read_model.begin(log.position.moved({0: 50}))
    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(20), open_server(log.source, read_model=read_model):
            await asyncio.Event().wait()
    assert raised.group_contains(StartupError, match="cannot go on .* restored .* `stateset log new-epoch`")
