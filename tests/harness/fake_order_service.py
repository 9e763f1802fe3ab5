"""An Order Service of one page: it answers what the test has put in line, over the real wire."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import status_pb2
from stateset.order.v1 import order_service_pb2 as orders
from stateset.order.v1.order_pb2 import Order


class Answer:
    """A status, with its details, to answer one call or one order with."""

    def __init__(self, code: grpc.StatusCode, *details: Message, message: str = "said the test") -> None:
        self.code = code
        self.message = message
        self._details = details

    @property
    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self._details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return status

    async def abort(self, context: Any) -> None:  # noqa: ANN401 - gRPC's
        context.set_trailing_metadata((("grpc-status-details-bin", self.status.SerializeToString()),))
        await context.abort(self.code, self.message)


class FakeOrder:
    """Places every order, after the refusals that are in line for calls or for one order; lists 120 orders."""

    def __init__(self) -> None:
        self.address = ""
        self.refusals: deque[Answer] = deque()
        self.refusals_of: dict[str, Answer] = {}
        self.requests: list[orders.PlaceOrderRequest] = []
        self.streams: list[list[str]] = []

    async def place(self, request: orders.PlaceOrderRequest, context: Any) -> orders.PlaceOrderResponse:  # noqa: ANN401 - gRPC's
        self.requests.append(request)
        if self.refusals:
            await self.refusals.popleft().abort(context)
        return orders.PlaceOrderResponse(order=Order(order_id=request.order_id or "o-1", version=1))

    async def ingest(
        self,
        requests: AsyncIterator[orders.IngestOrdersRequest],
        context: Any,  # noqa: ANN401 - gRPC's
    ) -> orders.IngestOrdersResponse:
        sent = [order async for request in requests for order in request.orders]
        self.streams.append([each.request_id for each in sent])
        if self.refusals:
            await self.refusals.popleft().abort(context)
        return orders.IngestOrdersResponse(results=map(self._result, sent))

    def _result(self, order: orders.PlaceOrderRequest) -> orders.IngestOrderResult:
        refusal = self.refusals_of.pop(order.request_id, None)
        if refusal is not None:
            return orders.IngestOrderResult(request_id=order.request_id, refusal=refusal.status)
        placed = orders.IngestedOrder(order_id=f"order-{order.request_id}", version=1)
        return orders.IngestOrderResult(request_id=order.request_id, placed=placed)

    async def list(self, request: orders.ListOrdersRequest, _context: Any) -> orders.ListOrdersResponse:  # noqa: ANN401 - gRPC's
        first = int(request.page_token or 0)
        page = range(first, min(first + 50, 120))
        return orders.ListOrdersResponse(
            orders=[Order(order_id=f"o-{number}") for number in page],
            next_page_token=str(first + 50) if first + 50 < 120 else "",
        )


@asynccontextmanager
async def open_fake_order() -> AsyncIterator[FakeOrder]:
    fake = FakeOrder()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "stateset.order.v1.OrderService",
                {
                    "PlaceOrder": grpc.unary_unary_rpc_method_handler(
                        fake.place,
                        request_deserializer=orders.PlaceOrderRequest.FromString,
                        response_serializer=orders.PlaceOrderResponse.SerializeToString,
                    ),
                    "IngestOrders": grpc.stream_unary_rpc_method_handler(
                        fake.ingest,
                        request_deserializer=orders.IngestOrdersRequest.FromString,
                        response_serializer=orders.IngestOrdersResponse.SerializeToString,
                    ),
                    "ListOrders": grpc.unary_unary_rpc_method_handler(
                        fake.list,
                        request_deserializer=orders.ListOrdersRequest.FromString,
                        response_serializer=orders.ListOrdersResponse.SerializeToString,
                    ),
                },
            ),
        )
    )
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(0)
