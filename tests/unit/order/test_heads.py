"""Where the log stands for a process that is not the only one to write."""

import pytest

from infra.kernel.position import PositionAheadError
from infra.runtime.clock import ManualClock, SystemClock
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.feed import Feed, StartPoint
from order.application.heads import Heads
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from tests.harness.orders import place, submission


async def another_process_places(log: MemoryLog) -> Heads:
    """Its own heads: nobody has told ours."""
    theirs = Heads(log.log_epoch, [1] * log.shards)
    writer = Writer(log, WireCodec(log.log_epoch, log.shards), theirs, SystemClock(), WriterLimits(), Policy())
    async with writer.running():
        await writer.submit(submission(place(1)))
    return theirs


async def test_a_position_that_only_another_process_has_reached_can_be_started_from() -> None:
    log = MemoryLog(shards=3)
    ours = Heads(log.log_epoch, [1] * 3)
    feed = Feed(log, ours, ManualClock())
    position = (await another_process_places(log)).position
    assert (await feed.open(position, range(3), "")).start == position
    with pytest.raises(PositionAheadError):
        await feed.open(position.moved({0: position.next_seq[0] + 1}), range(3), "")


async def test_latest_is_behind_what_another_process_has_written() -> None:
    log = MemoryLog(shards=3)
    feed = Feed(log, Heads(log.log_epoch, [1] * 3), ManualClock())
    theirs = await another_process_places(log)
    assert (await feed.open(StartPoint.LATEST, range(3), "")).start == theirs.position


async def test_the_heads_are_as_of_their_last_look_and_not_of_now() -> None:
    log, clock = MemoryLog(shards=3), ManualClock()
    heads = Heads(log.log_epoch, [1] * 3)
    await heads.look(log, clock)
    looked_us = clock.now_us()
    clock.advance(1)
    heads.advance({0: 5})
    assert heads.as_of_us == looked_us
    await heads.look(log, clock)
    assert heads.as_of_us == clock.now_us()
