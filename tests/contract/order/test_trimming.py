"""What every log forgets of its oldest events, and what it keeps."""

import asyncio

import pytest

from infra.kernel.filter import EVERYTHING
from infra.kernel.position import PositionExpiredError
from infra.kernel.shard import shard_of
from infra.runtime.clock import ManualClock
from order.application.feed import Credit, Cursor, Feed, Opening, StartPoint
from order.application.heads import Heads
from order.application.ports import Log, Reader
from order.application.read_ports import Orders
from order.application.writer import Writer
from tests.contract.order.conftest import SHARDS
from tests.harness.order_commands import ACCEPT
from tests.harness.orders import place, submission

SHARD = shard_of("o-1", SHARDS)
MANY = 1_000


@pytest.fixture
async def young_us(writer: Writer, clock: ManualClock) -> int:
    """The log has 30 old events in all of its shards, and some of a minute later; the time that parts them."""
    ids = [f"o-{number}" for number in range(30)]
    await asyncio.gather(*(writer.submit(submission(place(1, order_id=each))) for each in ids))
    clock.advance(60)
    parting_us = clock.now_us()
    await asyncio.gather(*(writer.submit(submission(place(2, order_id=f"{each}-young"))) for each in ids))
    await writer.submit(submission(ACCEPT))
    return parting_us


async def trimmed(log: Log, before_us: int, events_max: int = MANY) -> list[int]:
    return [await log.trim(shard, before_us, events_max) for shard in range(SHARDS)]


async def all_floors(log: Log, name: str, next_seq: int) -> None:
    epoch, _ = await log.open_subscription(name)
    assert await log.move_floors(name, epoch, dict.fromkeys(range(SHARDS), next_seq))


async def test_what_is_old_is_forgotten_and_what_is_young_stays(log: Log, orders: Orders, young_us: int) -> None:
    heads = await log.heads()
    counts = await trimmed(log, young_us)
    assert sum(counts) == 30
    assert await log.earliest() == [count + 1 for count in counts]
    assert await log.heads() == heads
    assert await trimmed(log, young_us) == [0] * SHARDS
    for shard, earliest in enumerate(await log.earliest()):
        kept = await log.read_events(shard, earliest, MANY)
        assert [event.seq for event in kept] == list(range(earliest, heads[shard].next_seq))
        assert all(event.record_time_us >= young_us for event in kept)
    history = await orders.list_order_events("o-1", 0, 9)
    assert len(history) == 1  # the acceptance: the placing is forgotten, and the order stays
    assert (await log.digest(EVERYTHING))[1].count == 60


async def test_nothing_above_a_floor_is_forgotten_and_who_has_confirmed_nothing_needs_all(
    log: Log, young_us: int
) -> None:
    assert await log.lowest_floors() == [None] * SHARDS
    await all_floors(log, "fast", MANY)
    await all_floors(log, "slow", 4)
    assert await log.lowest_floors() == [4] * SHARDS
    assert await trimmed(log, young_us) == [3] * SHARDS
    await log.open_subscription("new")
    assert await log.lowest_floors() == [1] * SHARDS
    await all_floors(log, "slow", MANY)
    assert await trimmed(log, young_us) == [0] * SHARDS
    assert [reader.name for reader in await log.readers("", 9)] == ["fast", "new", "slow"]
    assert await log.readers("fast", 1) == [Reader(name="new", delivery_epoch=1, floors={})]
    assert await log.forget_reader("new")
    assert not await log.forget_reader("new")
    assert sum(await trimmed(log, young_us)) == 30 - 3 * SHARDS


async def test_a_deleted_subscriptions_stream_is_fenced(log: Log) -> None:
    epoch, _ = await log.open_subscription("gone")
    assert await log.forget_reader("gone")
    assert not await log.move_floors("gone", epoch, {0: 5})
    assert await log.readers("", 9) == []


async def test_a_deleted_subscriptions_stream_stays_fenced_when_another_has_its_name(log: Log) -> None:
    for _ in range(3):
        epoch, _ = await log.open_subscription("gone")
    await log.open_subscription("younger")
    for name in ("gone", "younger"):
        assert await log.forget_reader(name)
    again, floors = await log.open_subscription("gone")
    assert (again, floors) == (epoch + 1, {})
    assert not await log.move_floors("gone", epoch, {0: 5})
    assert await log.readers("", 9) == [Reader(name="gone", delivery_epoch=again, floors={})]


async def test_so_many_are_forgotten_at_a_time_and_never_a_part_of_a_group(
    log: Log, writer: Writer, young_us: int
) -> None:
    assert await log.trim(SHARD, young_us, 2) == 2
    assert (await log.earliest())[SHARD] == 3
    assert await log.trim(SHARD, young_us + 10**12, 4) == 4
    assert (await log.earliest())[SHARD] == 7


async def test_a_reader_that_is_left_behind_is_told_and_nobody_skips(log: Log, young_us: int) -> None:
    heads = Heads(log.log_epoch, [head.next_seq for head in await log.heads()])
    feed = Feed(log, heads, ManualClock())
    begun = await feed.open(StartPoint.EARLIEST, range(SHARDS), "")
    cursor = Cursor(log, heads, Opening(start=begun.start, earliest=begun.start, shards=(SHARD,)))
    await trimmed(log, young_us)
    earliest = (await log.earliest())[SHARD]
    with pytest.raises(PositionExpiredError) as refused:
        await feed.open(begun.start, [SHARD], "")
    assert (refused.value.asked, refused.value.earliest_seq) == (1, earliest)
    again = await feed.open(StartPoint.EARLIEST, range(SHARDS), "sync")
    stored = await feed.open(StartPoint.STORED, range(SHARDS), "sync")
    assert again.start == stored.start
    assert again.start.next_seq == tuple(await log.earliest())
    await read_below_the_tail(log, cursor)


async def read_below_the_tail(log: Log, cursor: Cursor) -> None:
    """What is still in memory may be read on; what is not is refused."""
    try:
        (run,) = await cursor.read(1, Credit(1, 1))
    except PositionExpiredError:
        return
    assert run[0].seq == 1
    assert (await log.read_events(SHARD, 1, 1))[0] == run[0]
