"""The group-commit loop on a log whose commits a test holds back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.runtime.clock import ManualClock
from infra.runtime.grpc.status import DeadlineTooShortError
from order.adapters.wire import WireCodec
from order.application.group import Reply
from order.application.heads import Heads
from order.application.writer import Writer, WriterLimits
from order.domain.errors import OverloadedError, StoreUnavailableError
from order.domain.policy import Policy
from tests.harness.held_log import HeldLog
from tests.harness.orders import place, submission


@pytest.fixture
def log() -> HeldLog:
    return HeldLog()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def writer(log: HeldLog, clock: ManualClock) -> AsyncIterator[Writer]:
    limits = WriterLimits(group_commands_max=4, queue_commands_max=6, gather_seconds=0.001)
    async with writing(log, clock, limits) as writer:
        yield writer


@asynccontextmanager
async def writing(log: HeldLog, clock: ManualClock, limits: WriterLimits) -> AsyncIterator[Writer]:
    writer = Writer(log, WireCodec(log.log_epoch, 3), Heads(log.log_epoch, [1, 1, 1]), clock, limits, Policy())
    async with writer.running():
        yield writer
        log.free.set()


def start(writer: Writer, *order_ids: str) -> list["asyncio.Task[Reply]"]:
    return [asyncio.create_task(writer.submit(submission(place(1, order_id=each)))) for each in order_ids]


async def test_what_waits_during_a_commit_shares_the_next_one(log: HeldLog, writer: Writer) -> None:
    first = start(writer, "o-1")
    await log.until_committing(1)
    rest = start(writer, "o-2", "o-3", "o-4", "o-5", "o-6")
    await asyncio.sleep(0)
    log.free.set()
    await asyncio.gather(*first, *rest)
    assert log.groups == [1, 4, 1]


async def test_a_group_waits_for_those_who_have_just_been_answered(log: HeldLog, clock: ManualClock) -> None:
    async with writing(log, clock, WriterLimits(gather_seconds=60, quiet_seconds=60)) as writer:
        first = start(writer, "o-1")
        await log.until_committing(1)
        rest = start(writer, "o-2", "o-3")
        await asyncio.sleep(0)
        log.free.set()
        await asyncio.gather(*first)
        await asyncio.sleep(0)
        assert log.groups == [1]
        await asyncio.gather(*rest, *start(writer, "o-4"))
        assert log.groups == [1, 3]


async def test_a_group_does_not_wait_for_those_who_stay_away(log: HeldLog, clock: ManualClock) -> None:
    async with writing(log, clock, WriterLimits(gather_seconds=60, quiet_seconds=0.001)) as writer:
        first = start(writer, "o-1")
        await log.until_committing(1)
        rest = start(writer, "o-2", "o-3")
        await asyncio.sleep(0)
        log.free.set()
        await asyncio.gather(*first, *rest)
        assert log.groups == [1, 2]


async def test_a_full_queue_refuses_at_once(log: HeldLog, writer: Writer) -> None:
    waiting = start(writer, "o-1")
    await log.until_committing(1)
    waiting += start(writer, *(f"o-{number}" for number in range(2, 8)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await writer.submit(submission(place(1, order_id="o-9")))
    log.free.set()
    await asyncio.gather(*waiting)


async def test_nobody_joins_a_queue_whose_first_has_waited_for_too_long(
    log: HeldLog, writer: Writer, clock: ManualClock
) -> None:
    waiting = start(writer, "o-1")
    await log.until_committing(1)
    clock.advance(60)  # the commit is slow, but nobody waits behind it
    waiting += start(writer, "o-2")
    await asyncio.sleep(0)
    clock.advance(1)
    waiting += start(writer, "o-3")
    await asyncio.sleep(0)
    clock.advance(0.1)
    with pytest.raises(OverloadedError):
        await writer.submit(submission(place(1, order_id="o-4")))
    log.free.set()
    await asyncio.gather(*waiting)
    await writer.submit(submission(place(1, order_id="o-4")))


async def test_a_caller_that_goes_away_while_it_waits_takes_its_command_back(log: HeldLog, writer: Writer) -> None:
    first = start(writer, "o-1")
    await log.until_committing(1)
    gone, stays = start(writer, "o-2", "o-3")
    await asyncio.sleep(0)
    gone.cancel()
    log.free.set()
    await asyncio.gather(*first, stays)
    assert await log.find_orders(["o-2"]) == {}
    assert await log.find_orders(["o-3"])


async def test_a_caller_that_goes_away_during_the_commit_hurts_nobody(log: HeldLog, writer: Writer) -> None:
    (gone,) = start(writer, "o-1")
    await log.until_committing(1)
    gone.cancel()
    log.free.set()
    await asyncio.gather(*start(writer, "o-2"))
    assert await log.find_orders(["o-1"])


async def test_a_command_whose_turn_comes_too_late_is_not_carried_out(
    log: HeldLog, writer: Writer, clock: ManualClock
) -> None:
    first = start(writer, "o-1")
    await log.until_committing(1)
    late = asyncio.create_task(_submit_until(writer, clock.monotonic() + 1))
    await asyncio.sleep(0)
    clock.advance(0.998)  # 2 ms are left: less than a commit takes
    log.free.set()
    await asyncio.gather(*first)
    with pytest.raises(DeadlineTooShortError):
        await late
    assert await log.find_orders(["o-2"]) == {}


async def _submit_until(writer: Writer, deadline: float) -> object:
    return await writer.submit(submission(place(1, order_id="o-2"))._replace(deadline=deadline))


async def test_a_group_that_one_command_spoils_answers_the_others(log: HeldLog, writer: Writer) -> None:
    first = start(writer, "o-1")
    await log.until_committing(1)
    log.fail = lambda needs: ValueError("spoilt") if "o-3" in needs.orders else None
    tasks = start(writer, "o-2", "o-3", "o-4")
    await asyncio.sleep(0)
    log.free.set()
    answers = await asyncio.gather(*first, *tasks, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["Reply", "Reply", "ValueError", "Reply"]


async def test_a_database_that_is_away_is_told_to_every_caller_and_the_writer_goes_on(
    log: HeldLog, writer: Writer
) -> None:
    log.free.set()
    log.fail = lambda _needs: StoreUnavailableError("away")
    answers = await asyncio.gather(*start(writer, "o-1", "o-2"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailableError, StoreUnavailableError]
    log.fail = lambda _needs: None
    await asyncio.gather(*start(writer, "o-1"))
    assert await log.find_orders(["o-1"])
