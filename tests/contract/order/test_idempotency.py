"""What every log promises about request ids: what is kept under them, for how long, and how an answer becomes final."""

import asyncio

import pytest

from infra.kernel.filter import EVERYTHING
from infra.runtime.clock import ManualClock
from order.application.ports import Log, Outcome, StoredReply
from order.application.sweep import BATCH_REPLIES_MAX, RETENTION_SECONDS, Sweep
from order.application.writer import Writer
from order.domain.commands import AcceptOrder
from order.domain.errors import EtagMismatchError, RequestFencedError, RequestIdReusedError
from tests.harness.orders import place, submission

KEY = ("local", "request-a")
FENCED = StoredReply(outcome=Outcome.NOT_EXECUTED)
BEGUN = StoredReply(outcome=Outcome.BEGUN, method="EraseMany", content=b"asked")


async def test_what_became_of_a_command_is_kept_with_its_answer(log: Log, writer: Writer) -> None:
    assert await log.read_reply(KEY) is None
    command = submission(place(3), request_id="request-a")
    placed = await writer.submit(command)
    refused = await writer.submit(submission(place(4), request_id="request-b"))
    assert await log.read_reply(KEY) == StoredReply(
        outcome=Outcome.COMMITTED, method="PlaceOrder", content=command.content, reply=placed.body
    )
    stored = await log.read_reply(("local", "request-b"))
    assert stored is not None
    assert (stored.outcome, stored.reply) == (Outcome.REFUSED, refused.body)
    assert await log.read_reply(("somebody", "request-a")) is None


async def test_what_may_differ_next_time_is_not_kept(log: Log, writer: Writer) -> None:
    await writer.submit(submission(place(3), request_id="request-a", validate_only=True))
    await writer.submit(submission(place(3)))
    with pytest.raises(EtagMismatchError):
        await writer.submit(submission(AcceptOrder(order_id="o-1"), request_id="request-a", etag='"7"'))
    asked = await writer.submit(submission(place(4), request_id="request-a", validate_only=True))
    assert asked.refused
    assert await log.read_reply(KEY) is None


async def test_a_fence_makes_it_final_that_a_command_was_not_carried_out(log: Log, writer: Writer) -> None:
    assert await log.fence(KEY, 1) == FENCED
    for _ in range(2):
        with pytest.raises(RequestFencedError):
            await writer.submit(submission(place(3), request_id="request-a"))
    assert (await log.digest(EVERYTHING))[1].count == 0
    assert await log.fence(KEY, 2) == await log.read_reply(KEY) == FENCED


async def test_a_fence_changes_nothing_about_a_command_that_was_answered(log: Log, writer: Writer) -> None:
    placed = await writer.submit(submission(place(3), request_id="request-a"))
    stored = await log.fence(KEY, 1)
    assert (stored.outcome, stored.reply) == (Outcome.COMMITTED, placed.body)
    again = await writer.submit(submission(place(3), request_id="request-a"))
    assert (again.body, again.replayed) == (placed.body, True)


async def test_command_and_fence_at_once_agree_on_what_happened(log: Log, writer: Writer) -> None:
    orders = 0
    for number in range(20):
        request_id = f"request-{number}"
        command = submission(place(1, order_id=f"o-{number}"), request_id=request_id)
        told, stored = await asyncio.gather(
            writer.submit(command), log.fence(("local", request_id), 1), return_exceptions=True
        )
        assert isinstance(stored, StoredReply)
        assert (stored.outcome is Outcome.COMMITTED) == (not isinstance(told, RequestFencedError))
        orders += stored.outcome is Outcome.COMMITTED
        assert (await log.digest(EVERYTHING))[1].count == orders


async def test_what_has_begun_is_begun_once_and_has_the_first_reply_that_came(log: Log) -> None:
    assert await log.begin(KEY, "EraseMany", b"asked", 1) == BEGUN
    assert await log.begin(KEY, "EraseOthers", b"else", 2) == await log.read_reply(KEY) == BEGUN
    done = StoredReply(outcome=Outcome.COMMITTED, method="EraseMany", content=b"asked", reply=b"first")
    assert [await log.finish(KEY, reply) for reply in (b"first", b"second")] == [b"first", b"first"]
    assert await log.begin(KEY, "EraseMany", b"asked", 3) == await log.read_reply(KEY) == done


async def test_what_has_begun_cannot_be_fenced_and_what_is_fenced_does_not_begin(log: Log) -> None:
    await log.begin(KEY, "EraseMany", b"asked", 1)
    assert await log.fence(KEY, 2) == BEGUN
    assert await log.finish(KEY, b"reply") == b"reply"
    other = ("local", "request-b")
    await log.fence(other, 1)
    assert await log.begin(other, "EraseMany", b"asked", 2) == await log.read_reply(other) == FENCED


async def test_a_request_id_that_something_has_begun_under_is_no_commands(log: Log, writer: Writer) -> None:
    await log.begin(KEY, "EraseMany", b"asked", 1)
    with pytest.raises(RequestIdReusedError) as refused:
        await writer.submit(submission(place(3), request_id="request-a"))
    assert refused.value.differing_fields == ("method",)
    assert (await log.digest(EVERYTHING))[1].count == 0
    placed = await writer.submit(submission(place(3), request_id="request-b"))
    assert (await log.begin(("local", "request-b"), "EraseMany", b"asked", 1)).reply == placed.body


async def test_what_has_begun_is_forgotten_too_and_may_end_after_that(log: Log) -> None:
    await log.begin(KEY, "EraseMany", b"asked", 1)
    assert await log.forget_replies(2, 10) == 1
    assert await log.finish(KEY, b"reply") == b"reply"
    assert await log.read_reply(KEY) is None


async def test_replies_are_forgotten_after_their_retention_and_not_before(
    log: Log, writer: Writer, clock: ManualClock
) -> None:
    await writer.submit(submission(place(3), request_id="request-a"))
    await log.fence(("local", "request-b"), clock.now_us())
    clock.advance(1)
    await writer.submit(submission(place(3, order_id="o-2"), request_id="request-c"))
    sweep = Sweep(log, clock)
    clock.advance(RETENTION_SECONDS - 1)
    assert await sweep.once() == 0
    clock.advance(0.5)
    assert await sweep.once() == 2
    assert await log.read_reply(KEY) is None
    assert await log.read_reply(("local", "request-c")) is not None
    again = await writer.submit(submission(place(4), request_id="request-a"))
    assert again.refused  # the order's id counts for ever


async def test_a_sweep_takes_a_few_at_a_time_oldest_first(log: Log, clock: ManualClock) -> None:
    for number in range(5):
        await log.fence(("local", f"request-{number}"), number)
    assert await log.forget_replies(10, 3) == 3
    assert await log.read_reply(("local", "request-2")) is None
    assert await log.read_reply(("local", "request-3")) == FENCED
    assert await Sweep(log, clock).once() == 2 < BATCH_REPLIES_MAX
