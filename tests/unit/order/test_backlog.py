"""What is logged and not on the bus."""

import pytest

from infra.runtime.clock import ManualClock
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.backlog import ShardBacklog, backlog
from order.application.heads import Heads
from order.application.relay_ports import Cursor, Cursors
from order.application.writer import Writer, WriterLimits
from order.domain.commands import AcceptOrder
from order.domain.policy import Policy
from tests.harness.orders import place, submission


class NotedCursors:
    """A lease that nobody holds."""

    def __init__(self, **next_seqs: int) -> None:
        self.kept = {(topic, 0): Cursor(topic_id="t", next_seq=next_seq) for topic, next_seq in next_seqs.items()}

    async def acquire(self) -> int | None:
        raise NotImplementedError

    async def keep(self, epoch: int, cursors: Cursors) -> bool:
        raise NotImplementedError

    async def release(self, epoch: int) -> None:
        raise NotImplementedError

    async def cursors(self) -> Cursors:
        return self.kept


@pytest.fixture
async def log() -> MemoryLog:
    """Two events, of which the second was recorded five seconds after the first."""
    log, clock = MemoryLog(shards=1), ManualClock()
    codec, heads = WireCodec(log.log_epoch, 1), Heads(log.log_epoch, [1])
    writer = Writer(log, codec, heads, clock, WriterLimits(gather_seconds=0.001), Policy())
    async with writer.running():
        await writer.submit(submission(place(1)))
        clock.advance(5)
        await writer.submit(submission(AcceptOrder(order_id="o-1")))
    return log


async def test_each_topic_lacks_what_is_behind_its_cursor(log: MemoryLog) -> None:
    first, second = [event.record_time_us for event in await log.read_events(0, 1, 10)]
    assert second - first == 5_000_000
    assert await backlog(log, NotedCursors(events=2, empty=1, state=3)) == {
        "empty": [ShardBacklog(shard=0, next_seq=1, events=2, oldest_us=first)],
        "events": [ShardBacklog(shard=0, next_seq=2, events=1, oldest_us=second)],
        "state": [ShardBacklog(shard=0, next_seq=3, events=0, oldest_us=None)],
    }


async def test_a_log_that_was_never_published_has_no_backlog(log: MemoryLog) -> None:
    assert await backlog(log, NotedCursors()) == {}


async def test_what_the_log_has_forgotten_is_no_backlog(log: MemoryLog) -> None:
    [first, second] = await log.read_events(0, 1, 10)
    await log.trim(0, second.record_time_us, 10)
    assert await backlog(log, NotedCursors(events=first.seq)) == {
        "events": [ShardBacklog(shard=0, next_seq=1, events=1, oldest_us=second.record_time_us)]
    }
