"""More than the service can do, over real gRPC: a log that commits only when it is let to says when that is."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from prometheus_client import REGISTRY
from stateset.order.v1 import order_service_pb2

from infra.kernel.filter import EVERYTHING
from infra.runtime.clock import ManualClock
from order.application.writer import WriterLimits
from tests.harness.held_log import HeldLog, held_service
from tests.harness.order_service import refused
from tests.harness.orders import place_request
from tests.harness.waiting import eventually

QUEUE_MAX = 4
CALLS = 40
Call = Any


@pytest.fixture
def log() -> HeldLog:
    return HeldLog()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(round(time.monotonic() * 1e6))  # deadlines are told by the machine's clock


@pytest.fixture
async def orders(log: HeldLog, clock: ManualClock) -> AsyncIterator[Any]:
    limits = WriterLimits(group_commands_max=1, queue_commands_max=QUEUE_MAX, least_seconds=0)
    async with held_service(log, clock, limits) as stub:
        yield stub


def calls(orders: Any, first: int, count: int) -> list[Call]:  # noqa: ANN401 - a generated stub
    return [orders.PlaceOrder(place_request(1, order_id=f"o-{first + number}"), timeout=60) for number in range(count)]


async def begun(orders: Any, log: HeldLog) -> list[Call]:  # noqa: ANN401 - a generated stub
    """A command whose commit is under way."""
    first = calls(orders, 0, 1)
    await log.until_committing(1)
    return first


async def told(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def placed(log: HeldLog) -> int:
    return (await log.digest(EVERYTHING))[1].count


async def test_excess_is_refused_at_once_and_what_was_accepted_is_answered(log: HeldLog, orders: Any) -> None:  # noqa: ANN401 - a generated stub
    accepted = await begun(orders, log)
    rest = calls(orders, 1, CALLS)
    done: set[Call] = set()
    waiting = {asyncio.ensure_future(each) for each in rest}
    async with asyncio.timeout(60):
        while len(waiting) > QUEUE_MAX:  # nothing is committed yet: who is answered now is refused
            done_now, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= done_now
    refusals = [refused(await told(each)) for each in done]
    assert len(refusals) == CALLS - QUEUE_MAX
    assert {(each.code, each.reason) for each in refusals} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")}
    assert all(each.retry_seconds for each in refusals)
    log.free.set()
    answered = await asyncio.gather(*accepted, *waiting)
    assert all(reply.order.version == 1 for reply in answered)
    assert await placed(log) == 1 + QUEUE_MAX
    (again,) = calls(orders, 999, 1)
    assert (await again).order.version == 1


async def test_who_gives_up_while_waiting_changes_nothing(log: HeldLog, orders: Any) -> None:  # noqa: ANN401 - a generated stub
    accepted = await begun(orders, log)
    before = ended()
    impatient = orders.PlaceOrder(place_request(1, order_id="o-late"), timeout=0.3)
    assert (await told(impatient)).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: ended() == before + 1)
    gone = orders.PlaceOrder(place_request(1, order_id="o-gone"), timeout=60)
    probes = [asyncio.ensure_future(each) for each in calls(orders, 1, QUEUE_MAX)]
    (done, _) = await asyncio.wait(probes, return_when=asyncio.FIRST_COMPLETED)
    assert refused(await told(done.pop())).reason == "OVERLOADED"  # the queue is full: all have arrived
    gone.cancel()
    await eventually(lambda: ended() == before + 2)
    log.free.set()
    await asyncio.gather(*accepted, *probes, return_exceptions=True)
    found = await log.find_orders(["o-0", "o-late", "o-gone"])
    assert list(found) == ["o-0"]


async def test_calls_beyond_those_of_a_connection_wait_for_their_turn(orders: Any) -> None:  # noqa: ANN401 - a generated stub
    answers: Counter[str] = Counter()
    for _ in range(10):
        unknown = [orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-0"), timeout=60) for _ in range(300)]
        answers.update([refused(await told(call)).reason for call in unknown])
    assert answers == {"ORDER_NOT_FOUND": 3000}


def ended() -> float:
    """How many calls the server has ended without a reply, but for those that it refused as too many."""
    found = (
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "stateset_grpc_server_handled"
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["code"] not in ("OK", "RESOURCE_EXHAUSTED")
    )
    return sum(found)
