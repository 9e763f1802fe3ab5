"""IngestOrders: many new orders on one stream, each with an answer of its own."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.call import Call, status_of
from infra.runtime.grpc.status import COMMON_ERRORS, EncodedRefusalError, InvalidRequestError, Violation
from order.adapters.grpc_status import DOMAIN, ERRORS
from order.adapters.requests import submission
from order.application.group import Reply
from order.application.writer import Writer

STREAM_ORDERS_MAX: Final = 1_000
"""With the bound below, the reply stays under the 1 MiB that a caller receives, whatever ids and refusals are in it."""

_DETAILS_BYTES_MAX: Final = 262_144  # of refusals in full; those after them say their reason alone
_SLICE_LINES: Final = 512  # read without a pause, some milliseconds: other calls want their turn
_ORDER_LINES: Final = 15  # what else an order takes to read and to answer, as so many lines
_REQUEST_ID_MAX: Final = 64
_METHOD: Final = "PlaceOrder"  # an order's request id is the same here and there
_FORESEEN: Final = {**COMMON_ERRORS, **ERRORS}


class OrderIngest:
    """`OrderService.IngestOrders`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def IngestOrders(
        self, requests: AsyncIterator[order_service_pb2.IngestOrdersRequest], call: Call
    ) -> order_service_pb2.IngestOrdersResponse:
        """Places the orders as they come, and reads on only as the writer has room for them."""
        intake = _Intake(self._writer, call)
        try:
            async for request in requests:
                await intake.take(request.orders)
            return await intake.answered()
        finally:
            intake.take_back()


class _Begun(NamedTuple):
    """An order that was sent, and its answer to come, or why it could not be begun."""

    request: order_service_pb2.PlaceOrderRequest
    answer: "asyncio.Future[Reply] | Exception"

    @property
    def is_answered(self) -> bool:
        """Whether nobody has to be waited for."""
        return isinstance(self.answer, Exception) or self.answer.done()


class _Intake:
    """The orders of one stream: those under way, and the results of those before them."""

    def __init__(self, writer: Writer, call: Call) -> None:
        self._writer = writer
        self._call = call
        self._taken = 0
        self._under_way: deque[_Begun] = deque()
        self._reply = order_service_pb2.IngestOrdersResponse()
        self._reached: Sequence[int] = ()
        self._details_bytes = 0

    async def take(self, orders: Sequence[order_service_pb2.PlaceOrderRequest]) -> None:
        """Begins the orders of one message.

        Raises:
            InvalidRequestError: The stream has more than it may have; none of this message was begun.
        """
        self._taken += len(orders)
        if self._taken > STREAM_ORDERS_MAX:
            told = f"must be at most {STREAM_ORDERS_MAX} on one stream: send all of them again on several"
            raise InvalidRequestError([Violation("orders", told)])
        for part in _slices(orders):
            await self._writer.room()
            for order in part:
                self._under_way.append(_Begun(order, self._begin(order)))
            while self._under_way and self._under_way[0].is_answered:
                await self._tell_next()
            await asyncio.sleep(0)

    async def answered(self) -> order_service_pb2.IngestOrdersResponse:
        """The reply, once every order has its answer."""
        while self._under_way:
            await self._tell_next()
        if self._reached:
            self._reply.position.next_seq.extend(self._reached)
        return self._reply

    def _begin(self, order: order_service_pb2.PlaceOrderRequest) -> "asyncio.Future[Reply] | Exception":
        try:
            return self._writer.enqueue(submission(_METHOD, order, self._call))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is no concern of its neighbours
            return error

    async def _tell_next(self) -> None:
        begun = self._under_way.popleft()
        result = self._reply.results.add(request_id=begun.request.request_id[:_REQUEST_ID_MAX])
        try:
            self._placed(begun, await _answer(begun), result)
        except Exception as error:  # noqa: BLE001 - as above; a cut stream is no Exception
            result.refusal.CopyFrom(self._told(error))

    def take_back(self) -> None:
        """Takes back what still waits, where nobody waits for its answer any more."""
        for _, answer in self._under_way:
            if isinstance(answer, asyncio.Future):
                answer.cancel()

    def _placed(self, begun: _Begun, reply: Reply, result: order_service_pb2.IngestOrderResult) -> None:
        answer = order_service_pb2.PlaceOrderResponse.FromString(reply.body)
        order, placed = answer.order, result.placed
        placed.order_id = order.order_id
        placed.version = order.version
        placed.state = order.state
        placed.replayed = reply.replayed
        if not begun.request.validate_only:
            next_seq = answer.position.next_seq
            self._reply.position.log_epoch = answer.position.log_epoch
            self._reached = [*map(max, self._reached, next_seq)] if self._reached else list(next_seq)

    def _told(self, error: Exception) -> status_pb2.Status:
        status = status_of(error, _METHOD, DOMAIN, _FORESEEN)
        self._details_bytes += status.ByteSize()
        return status if self._details_bytes <= _DETAILS_BYTES_MAX else _brief(status)


def _slices(
    orders: Sequence[order_service_pb2.PlaceOrderRequest],
) -> Iterator[Sequence[order_service_pb2.PlaceOrderRequest]]:
    first = lines = 0
    for end, order in enumerate(orders, 1):
        lines += _ORDER_LINES + len(order.lines)
        if lines >= _SLICE_LINES or end == len(orders):
            yield orders[first:end]
            first, lines = end, 0


async def _answer(begun: _Begun) -> Reply:
    if isinstance(begun.answer, Exception):
        raise begun.answer
    reply = await begun.answer
    if reply.refused:
        raise EncodedRefusalError(reply.body)
    return reply


def _brief(status: status_pb2.Status) -> status_pb2.Status:
    """Its code, reason and time to wait: nothing that a request could make long."""
    brief = status_pb2.Status(code=status.code)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        packed = AnyMessage()
        if detail.Unpack(info):
            packed.Pack(error_details_pb2.ErrorInfo(reason=info.reason, domain=info.domain))
        elif detail.Unpack(retry):
            packed.Pack(retry)
        else:
            continue
        brief.details.append(packed)
    return brief
