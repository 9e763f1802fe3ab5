"""How much of a stream is taken in while nothing of it is committed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from stateset.order.v1 import order_service_pb2

from infra.kernel.filter import EVERYTHING
from infra.runtime.clock import SystemClock
from infra.runtime.grpc.call import Call
from order.adapters.grpc_ingest import OrderIngest
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.heads import Heads
from order.application.ports import Needs, View, Writes
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from tests.harness.orders import place_request
from tests.harness.waiting import eventually

MESSAGE_ORDERS = 100
GROUP = WriterLimits().group_commands_max


class StillLog(MemoryLog):
    """Commits nothing until it is let to."""

    def __init__(self) -> None:
        super().__init__(shards=3)
        self.free = asyncio.Event()

    async def commit(self, needs: Needs, decide: Callable[[View], Writes]) -> None:
        await self.free.wait()
        await super().commit(needs, decide)


class Stream:
    """Messages of 100 orders, and how many of them were taken."""

    def __init__(self, orders: int) -> None:
        self.taken = 0
        self._orders = orders

    async def messages(self) -> AsyncIterator[order_service_pb2.IngestOrdersRequest]:
        for _ in range(0, self._orders, MESSAGE_ORDERS):
            self.taken += 1
            yield order_service_pb2.IngestOrdersRequest(orders=[place_request(1) for _ in range(MESSAGE_ORDERS)])


def call() -> Call:
    context: Any = None
    return Call("local", "", float("inf"), True, context)  # noqa: FBT003 - its fields have names


def writer_on(log: MemoryLog) -> Writer:
    heads = Heads(log.log_epoch, [1, 1, 1])
    return Writer(log, WireCodec(log.log_epoch, 3), heads, SystemClock(), WriterLimits(), Policy())


async def passed_turns() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_streams_are_read_on_only_as_the_writer_has_room_and_leave_some_for_others() -> None:
    log, streams = StillLog(), [Stream(1_000) for _ in range(5)]
    writer = writer_on(log)
    async with writer.running():
        ingest = OrderIngest(writer)
        answers = [asyncio.create_task(ingest.IngestOrders(each.messages(), call())) for each in streams]
        await eventually(lambda: sum(each.taken for each in streams) >= 5)
        await passed_turns()
        # One group is being committed, another one waits; what a stream has read beyond that is one message.
        assert sum(each.taken for each in streams) * MESSAGE_ORDERS <= 2 * GROUP + len(streams) * MESSAGE_ORDERS
        writer.admit()
        log.free.set()
        assert [len((await each).results) for each in answers] == [1_000] * 5


async def test_what_still_waits_is_taken_back_when_its_stream_is_cut() -> None:
    log, stream = StillLog(), Stream(400)
    writer = writer_on(log)
    async with writer.running():
        answer = asyncio.create_task(OrderIngest(writer).IngestOrders(stream.messages(), call()))
        await eventually(lambda: stream.taken > 0)
        await passed_turns()
        answer.cancel()
        await asyncio.wait([answer])
        log.free.set()
    placed = (await log.digest(EVERYTHING))[1].count
    assert 0 < placed <= GROUP, "the group that was being committed, and nothing after it"


async def test_others_have_their_turn_after_every_large_order_even_if_it_is_refused() -> None:
    writer, turns = writer_on(MemoryLog(shards=3)), 0
    large = order_service_pb2.PlaceOrderRequest(lines=[order_service_pb2.NewOrderLine()] * 500)

    async def messages() -> AsyncIterator[order_service_pb2.IngestOrdersRequest]:
        yield order_service_pb2.IngestOrdersRequest(orders=[large] * 30)

    async with writer.running():
        answer = asyncio.create_task(OrderIngest(writer).IngestOrders(messages(), call()))
        while not answer.done():
            turns += 1
            await asyncio.sleep(0)
    assert len((await answer).results) == 30
    assert turns >= 30
