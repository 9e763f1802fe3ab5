"""The Order Service's reads: message in, query, message out."""

from collections.abc import Mapping, Sequence
from typing import Final

from stateset.order.v1 import order_pb2, order_service_pb2

from infra.kernel.filter import Field
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import PAGE_BYTES_MAX, at_least, listing
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import embedded
from order.application.queries import Queries
from order.application.read_ports import StoredOrder
from order.domain.order import OrderState

_BATCH_MAX: Final = 100
ORDER_FIELDS: Final[Mapping[str, Field]] = {
    "order_id": Field(),
    "customer_id": Field(),
    "store_id": Field(),
    "currency_code": Field(),
    "state": Field(values=frozenset(OrderState)),
    "place_time": Field(time=True),
}
_ORDER: Final = order_service_pb2.GetOrderResponse.ORDER_FIELD_NUMBER
_ORDERS: Final = order_service_pb2.ListOrdersResponse.ORDERS_FIELD_NUMBER  # BatchGetOrdersResponse spells it alike
_EVENTS: Final = order_service_pb2.ListOrderEventsResponse.EVENTS_FIELD_NUMBER
_PERSONAL: Final = order_pb2.Order.PERSONAL_FIELD_NUMBER


class OrderReads:
    """The reads of `stateset.order.v1.OrderService`. Replies are put together from what is stored encoded."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def GetOrder(self, request: order_service_pb2.GetOrderRequest, call: Call) -> bytes:
        """Reads one order."""
        found = await self._queries.order(request.order_id, at_least(request, call))
        return embedded(_ORDER, _viewed(found, basic=request.view == order_pb2.ORDER_VIEW_BASIC))

    async def BatchGetOrders(self, request: order_service_pb2.BatchGetOrdersRequest, call: Call) -> bytes:
        """Reads many orders at one moment."""
        order_ids = request.order_ids
        if not 0 < len(order_ids) <= _BATCH_MAX or len(set(order_ids)) < len(order_ids):
            raise InvalidRequestError([Violation("order_ids", f"must be 1 to {_BATCH_MAX} ids, each once")])
        found = await self._queries.orders(order_ids, at_least(request, call))
        orders = [_viewed(order, basic=request.view != order_pb2.ORDER_VIEW_FULL) for order in found]
        if sum(map(len, orders)) > PAGE_BYTES_MAX:
            advice = f"these orders take more than {PAGE_BYTES_MAX} bytes: ask for fewer at once, or for the view BASIC"
            raise InvalidRequestError([Violation("order_ids", advice)])
        return _repeated(_ORDERS, orders)

    async def ListOrders(self, request: order_service_pb2.ListOrdersRequest, call: Call) -> bytes:
        """Lists orders, newest first."""
        basic = request.view != order_pb2.ORDER_VIEW_FULL
        asked = listing(request, ORDER_FIELDS, (int, str), variant="basic" if basic else "full")
        found = await self._queries.page(asked.term, asked.after, asked.size + 1, at_least(request, call))
        orders = [_viewed(order, basic=basic) for order in found[: asked.size]]
        keys = [(order.place_time_us, order.order_id) for order in found]
        count, token = asked.cut(keys[: asked.size], [len(order) for order in orders], more=len(found) > asked.size)
        rest = order_service_pb2.ListOrdersResponse(next_page_token=token)
        return _repeated(_ORDERS, orders[:count]) + rest.SerializeToString()

    async def ListOrderEvents(self, request: order_service_pb2.ListOrderEventsRequest, call: Call) -> bytes:
        """Lists an order's events, oldest first."""
        asked = listing(request, {}, (int,), variant=request.order_id)
        after_seq = 0 if asked.after is None else asked.after[0]
        found = await self._queries.events(request.order_id, after_seq, asked.size + 1, at_least(request, call))
        events = found[: asked.size]
        count, token = asked.cut(
            [(event.seq,) for event in events], [len(event.body) for event in events], more=len(found) > asked.size
        )
        rest = order_service_pb2.ListOrderEventsResponse(next_page_token=token)
        return _repeated(_EVENTS, [event.body for event in events[:count]]) + rest.SerializeToString()


def _viewed(found: StoredOrder, *, basic: bool) -> bytes:
    if basic:
        order = order_pb2.Order.FromString(found.body)
        order.ClearField("lines")
        return order.SerializeToString()
    return found.body + embedded(_PERSONAL, found.personal) if found.personal else found.body


def _repeated(field_number: int, bodies: Sequence[bytes]) -> bytes:
    return b"".join(embedded(field_number, body) for body in bodies)
