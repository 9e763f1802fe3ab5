"""What the client finds the same, whether the Sync Server or its fake is on the other side."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from stateset.stream.v1.stream_pb2 import SnapshotStart, Start
from stateset_client import (
    SNAPSHOT,
    STORED,
    AckStatus,
    EventStream,
    LogEpochChangedError,
    SnapshotPart,
    StreamLimits,
    Subscription,
    Verifier,
)

from tests.harness.stream_servers import SERVERS, Bed

SMALL = StreamLimits(credit_events=4, batch_events_max=3)


@pytest.fixture(params=sorted(SERVERS))
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    async with SERVERS[request.param]() as opened:
        yield opened


async def record(bed: Bed, count: int) -> None:
    for number in range(count):
        await bed.record(f"o-{number:02}", customer_id=f"c-{number % 2}")


async def parts_of(stream: EventStream) -> list[SnapshotPart]:
    async with asyncio.timeout(20):
        return [part async for part in stream.snapshot()]


def ids(parts: list[SnapshotPart]) -> list[str]:
    return [order.order_id for part in parts for order in part.orders]


@pytest.mark.parametrize("two_way", [True, False])
async def test_a_snapshot_comes_in_parts_and_the_tail_brings_no_event_that_it_includes(
    bed: Bed, *, two_way: bool
) -> None:
    await record(bed, 10)
    make = Subscription(bed.address, "s", start=SNAPSHOT, limits=SMALL) if two_way else None
    async with make or EventStream(bed.address, start=SNAPSHOT, limits=SMALL) as stream:
        versions: dict[str, int] = {}
        async for part in stream.snapshot():
            versions |= {order.order_id: order.version for order in part.orders}
            if part.orders and part.orders[-1].order_id < "o-06":
                await bed.record("o-09")
                await bed.record("o-00")
        before = dict(versions)
        while versions["o-00"] < 2 or versions["o-09"] < 2 or sum(versions.values()) < sum(before.values()) + 1:
            async with asyncio.timeout(20):
                batch = await anext(stream)
            for event in batch.events:
                assert event.version == versions[event.order_id] + 1
                versions[event.order_id] = event.version
    assert sorted(versions) == [f"o-{number:02}" for number in range(10)]


async def test_a_snapshot_goes_on_behind_the_part_that_its_reader_has(bed: Bed) -> None:
    await record(bed, 10)
    async with EventStream(bed.address, start=SNAPSHOT, limits=SMALL) as stream:
        first = await anext(stream.snapshot())
    async with EventStream(bed.address, start=first.start, limits=SMALL) as stream:
        rest = await parts_of(stream)
    assert ids([first, *rest]) == [f"o-{number:02}" for number in range(10)]
    assert [part.is_last for part in rest] == [*[False] * (len(rest) - 1), True]
    assert {part.begin.SerializeToString() for part in rest} == {first.begin.SerializeToString()}


async def test_what_a_snapshot_included_does_not_come_once_it_was_acked(bed: Bed) -> None:
    await record(bed, 10)
    limits = StreamLimits(unacked_events_max=100)
    async with Subscription(bed.address, "s", start=SNAPSHOT, limits=limits) as stream:
        parts = await parts_of(stream)
        assert (await stream.ack(parts[-1].begin)).status is AckStatus.COMMITTED
    await bed.record("o-new")
    async with Subscription(bed.address, "s", start=STORED, limits=limits) as stream, asyncio.timeout(20):
        while not (batch := await anext(stream)).events:
            pass
    assert [event.order_id for event in batch.events] == ["o-new"]


async def test_a_filter_holds_for_snapshot_and_tail_alike(bed: Bed) -> None:
    await record(bed, 10)
    async with EventStream(bed.address, start=SNAPSHOT, filter="customer_id = c-1", limits=SMALL) as stream:
        assert ids(await parts_of(stream)) == [f"o-{number:02}" for number in range(1, 10, 2)]
        await bed.record("o-00", customer_id="c-0")
        await bed.record("o-01", customer_id="c-1")
        async with asyncio.timeout(20):
            while not (batch := await anext(stream)).events:
                pass
        assert [(event.order_id, event.version) for event in batch.events] == [("o-01", 2)]


async def test_a_snapshot_of_nothing_ends_at_once(bed: Bed) -> None:
    async with EventStream(bed.address, start=SNAPSHOT) as stream:
        (part,) = await parts_of(stream)
        assert part.is_last
        await bed.record("o-00")
        async with asyncio.timeout(20):
            assert [event.order_id for event in (await anext(stream)).events] == ["o-00"]


async def test_a_snapshot_of_another_log_is_refused(bed: Bed) -> None:
    at = bed.head
    at.log_epoch = "another"
    async with EventStream(bed.address, start=Start(snapshot=SnapshotStart(at=at, after_order_id="o"))) as stream:
        with pytest.raises(LogEpochChangedError):
            await parts_of(stream)


@pytest.mark.parametrize("two_way", [True, False])
async def test_a_digest_comes_behind_what_it_speaks_of_and_the_reader_agrees(bed: Bed, *, two_way: bool) -> None:
    await record(bed, 10)
    await bed.record("o-09", customer_id="c-1")
    text, verifier = "customer_id = c-1", Verifier()
    make = Subscription(bed.address, "s", filter=text, limits=SMALL, digest_seconds=1) if two_way else None
    async with make or EventStream(bed.address, filter=text, limits=SMALL, digest_seconds=1) as stream:
        while stream.digest is None:
            async with asyncio.timeout(20):
                for batch in (await stream.take(events_max=3)).batches:
                    verifier.add_events(batch.events)
    assert stream.digest.count == 5
    assert verifier.agrees(stream.digest) is True
