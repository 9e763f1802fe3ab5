"""Many orders over few calls: cut into streams, each sent again until every order has its answer."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

import grpc
import grpc.aio
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1 import order_service_pb2 as orders
from stateset.order.v1.order_pb2 import OrderState

from stateset_client.errors import StateSetError, UnavailableError, error_of, error_of_status
from stateset_client.retry import may_retry, retrying

STREAMS_MAX: Final = 4
"""Streams under way at once: while one waits for its last commit, the others keep the service busy."""

_STREAM_ORDERS_MAX: Final = 1_000  # by the contract
_MESSAGE_ORDERS_MAX: Final = 100
_MESSAGE_BYTES_MAX: Final = 131_072  # half of what a message may have: one order may come on top

IngestCall = grpc.aio.StreamUnaryMultiCallable[orders.IngestOrdersRequest, orders.IngestOrdersResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of one order, for good.

    Attributes:
        request_id: Of the order.
        order_id: Of the order that was placed; empty if it was refused.
        version: Of the order when it was placed.
        state: Then; it may be rejected where orders are judged as they are placed.
        replayed: It had been placed before, under the same request id.
        error: Why it was refused; none if it was placed.
        position: Behind this order and those that were sent with it: any read that is given it includes them.
    """

    request_id: str
    order_id: str
    version: int
    state: "OrderState.ValueType"
    replayed: bool
    error: StateSetError | None
    position: Position


async def ingest(
    method: IngestCall, requests: Iterable[orders.PlaceOrderRequest], timeout_seconds: float
) -> AsyncGenerator[Ingested]:
    """Places the orders, taken as they are needed, and hands out their answers in their sequence.

    Args:
        method: IngestOrders.
        requests: The orders, each with its request id.
        timeout_seconds: For each stream of them, its repetitions included.

    Raises:
        StateSetError: What the last try of a stream ended with.
    """
    left = iter(requests)
    under_way: deque[asyncio.Task[list[Ingested]]] = deque()
    try:
        while chunk := list(islice(left, _STREAM_ORDERS_MAX)):
            under_way.append(asyncio.create_task(_ingested(method, chunk, timeout_seconds), name="ingest"))
            if len(under_way) == STREAMS_MAX:
                for ingested in await under_way.popleft():
                    yield ingested
        while under_way:
            for ingested in await under_way.popleft():
                yield ingested
    finally:
        for task in under_way:
            task.cancel()
        for task in under_way:
            with suppress(asyncio.CancelledError, StateSetError):
                await task


async def _ingested(
    method: IngestCall, chunk: Sequence[orders.PlaceOrderRequest], timeout_seconds: float
) -> list[Ingested]:
    """The answers to one stream's orders; those that a passing refusal met are sent again."""
    answers: dict[int, Ingested] = {}

    async def attempt(left_seconds: float) -> None:
        unanswered = [index for index in range(len(chunk)) if index not in answers]
        try:
            reply = await method(_messages(chunk[index] for index in unanswered), timeout=left_seconds)
        except grpc.aio.AioRpcError as failure:
            raise _ended(failure) from failure
        passing: StateSetError | None = None
        for index, result in zip(unanswered, reply.results, strict=True):
            answer = _answer(result, reply.position)
            if answer.error is not None and may_retry(answer.error):
                passing = answer.error
            else:
                answers[index] = answer
        if passing is not None:
            raise passing

    await retrying(attempt, timeout_seconds)
    return [answers[index] for index in range(len(chunk))]


def _messages(requests: Iterable[orders.PlaceOrderRequest]) -> Iterator[orders.IngestOrdersRequest]:
    message, size = orders.IngestOrdersRequest(), 0
    for request in requests:
        if size >= _MESSAGE_BYTES_MAX or len(message.orders) == _MESSAGE_ORDERS_MAX:
            yield message
            message, size = orders.IngestOrdersRequest(), 0
        message.orders.append(request)
        size += request.ByteSize()
    yield message


def _ended(failure: grpc.aio.AioRpcError) -> StateSetError:
    """Why a stream ended. To gRPC, a connection that breaks under a write is an internal error; a service says why."""
    error = error_of(failure)
    lost = error.code is grpc.StatusCode.INTERNAL and not error.reason
    return UnavailableError(error.message, code=grpc.StatusCode.UNAVAILABLE) if lost else error


def _answer(result: orders.IngestOrderResult, position: Position) -> Ingested:
    refused = result.WhichOneof("outcome") == "refusal"
    return Ingested(
        request_id=result.request_id,
        order_id=result.placed.order_id,
        version=result.placed.version,
        state=result.placed.state,
        replayed=result.placed.replayed,
        error=error_of_status(result.refusal) if refused else None,
        position=position,
    )
