"""A real Order Service in the test's own event loop, on a file and a port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from stateset.order.v1 import (
    fulfillment_service_pb2_grpc,
    log_service_pb2_grpc,
    order_event_pb2,
    order_frame_pb2,
    order_service_pb2,
    order_service_pb2_grpc,
    return_service_pb2_grpc,
)

from infra.runtime.grpc.channel import open_channel
from order.main import serve
from order.settings import OrderSettings
from tests.harness.orders import place_request
from tests.harness.ports import free_address


@dataclass(frozen=True, slots=True)
class OrderService:
    """A running service and the stubs of its contract."""

    address: str
    stop: asyncio.Event
    orders: Any
    fulfillment: Any
    returns: Any
    log: Any

    async def place(self, *quantities: int, order_id: str = "") -> order_service_pb2.PlaceOrderResponse:
        """Places an order with one line per quantity."""
        reply: order_service_pb2.PlaceOrderResponse = await self.orders.PlaceOrder(
            place_request(*quantities, order_id=order_id)
        )
        return reply


@asynccontextmanager
async def order_service(folder: Path, **settings: Any) -> AsyncIterator[OrderService]:  # noqa: ANN401 - any setting
    """The service, serving; stopped and drained when the context ends."""
    address, admin = free_address(), free_address()
    given = {"database": f"sqlite:///{folder}/order.db", "shards": 3, **settings}
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(OrderSettings(grpc_address=address, admin_address=admin, **given), stop))
        async with open_channel(address) as channel:
            async with asyncio.timeout(60):
                await channel.channel_ready()
            try:
                yield OrderService(
                    address,
                    stop,
                    order_service_pb2_grpc.OrderServiceStub(channel),
                    fulfillment_service_pb2_grpc.FulfillmentServiceStub(channel),
                    return_service_pb2_grpc.ReturnServiceStub(channel),
                    log_service_pb2_grpc.LogServiceStub(channel),
                )
            finally:
                stop.set()


@dataclass(frozen=True, slots=True)
class Refused:
    """What a refused call says."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    retry_seconds: float | None


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """Reads the status details of an error."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    found = {type(part) for part in (info, bad, retry) for detail in status.details if detail.Unpack(part)}
    return Refused(
        error.code(),
        info.reason,
        dict(info.metadata),
        [violation.field for violation in bad.field_violations],
        retry.retry_delay.ToMilliseconds() / 1000 if type(retry) in found else None,
    )


async def first_events(stream: Any) -> list[order_event_pb2.OrderEvent]:  # noqa: ANN401 - any stream of frames
    """The events of the next frame that has some."""
    frame = await read_until(stream, "events")
    return [event for batch in frame.events.batches for event in batch.events]


async def read_until(stream: Any, kind: str) -> order_frame_pb2.ServerFrame:  # noqa: ANN401 - any stream of frames
    """The next frame of the kind; what comes before it is passed over."""
    async with asyncio.timeout(10):
        while True:
            frame: order_frame_pb2.ServerFrame = (await stream.read()).frame
            if frame.WhichOneof("frame") == kind:
                return frame
