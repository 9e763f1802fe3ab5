"""The Order Service's RPCs: every call has a deadline, every command is safe to repeat."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Self, TypeVar

import grpc.aio
from stateset.order.v1 import fulfillment_service_pb2 as fulfillment
from stateset.order.v1 import log_service_pb2 as log
from stateset.order.v1 import order_service_pb2 as orders
from stateset.order.v1 import return_service_pb2 as returns
from stateset.order.v1.fulfillment_service_pb2_grpc import FulfillmentServiceStub
from stateset.order.v1.log_service_pb2_grpc import LogServiceStub
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order
from stateset.order.v1.order_service_pb2_grpc import OrderServiceStub
from stateset.order.v1.return_service_pb2_grpc import ReturnServiceStub

from stateset_client.calls import TIMEOUT_SECONDS, call, pages
from stateset_client.channel import open_call_channel
from stateset_client.ids import new_request_id
from stateset_client.ingest import Ingested, ingest

Command = TypeVar(
    "Command",
    orders.PlaceOrderRequest,
    orders.AcceptOrderRequest,
    orders.RejectOrderRequest,
    orders.CancelOrderRequest,
    orders.RecordFillRequest,
    orders.AmendOrderRequest,
    orders.ConfirmOrderCancelRequest,
    orders.RejectOrderCancelRequest,
    orders.BustFillRequest,
    orders.HoldOrderRequest,
    orders.ReleaseOrderHoldRequest,
    orders.RecordPaymentRequest,
    orders.RecordRefundRequest,
    orders.EraseOrderPersonalDataRequest,
    orders.EraseCustomerPersonalDataRequest,
    fulfillment.RecordShipmentRequest,
    fulfillment.RecordDeliveryRequest,
    returns.RequestReturnRequest,
    returns.ApproveReturnRequest,
    returns.RejectReturnRequest,
    returns.ReceiveReturnRequest,
)


class OrderClient:
    """Typed calls to the Order Service.

    Every method takes the contract's request and returns its response. `timeout_seconds` is for the whole call, its
    repetitions included; only what the contract calls safe is repeated, always under the same request id. A command
    without a `request_id` gets one on a copy. Give your own if a retry may come from another process.

    Every method raises `StateSetError`, or the subclass that its reason has.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._orders = OrderServiceStub(channel)
        self._fulfillment = FulfillmentServiceStub(channel)
        self._returns = ReturnServiceStub(channel)
        self._log = LogServiceStub(channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str) -> AsyncIterator[Self]:
        """A client of the Order Service at `host:port`. It connects with the first call."""
        async with open_call_channel(address) as channel:
            yield cls(channel)

    async def place_order(
        self, request: orders.PlaceOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.PlaceOrderResponse:
        """Places an order."""
        return await call(self._orders.PlaceOrder, _with_request_id(request), timeout_seconds)

    async def ingest_orders(
        self, requests: Iterable[orders.PlaceOrderRequest], *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncGenerator[Ingested]:
        """Places any number of orders, several thousand under way at once; each one's answer, in their sequence.

        A refused order's answer has an `error` and stops no other. The timeout is for every 1,000 of them. If it
        raises, or this process dies, send the same orders under the same request ids again: what was placed is told
        again. Whoever stops early closes it (`contextlib.aclosing`), and what is under way ends.
        """
        named = map(_with_request_id, requests)
        async with aclosing(ingest(self._orders.IngestOrders, named, timeout_seconds)) as answers:
            async for ingested in answers:
                yield ingested

    async def accept_order(
        self, request: orders.AcceptOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.AcceptOrderResponse:
        """Accepts a pending order."""
        return await call(self._orders.AcceptOrder, _with_request_id(request), timeout_seconds)

    async def reject_order(
        self, request: orders.RejectOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.RejectOrderResponse:
        """Refuses a pending order."""
        return await call(self._orders.RejectOrder, _with_request_id(request), timeout_seconds)

    async def cancel_order(
        self, request: orders.CancelOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.CancelOrderResponse:
        """Cancels open units."""
        return await call(self._orders.CancelOrder, _with_request_id(request), timeout_seconds)

    async def record_fill(
        self, request: orders.RecordFillRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.RecordFillResponse:
        """Records executed units."""
        return await call(self._orders.RecordFill, _with_request_id(request), timeout_seconds)

    async def amend_order(
        self, request: orders.AmendOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.AmendOrderResponse:
        """Changes open lines, the expiry or the personal data."""
        return await call(self._orders.AmendOrder, _with_request_id(request), timeout_seconds)

    async def confirm_order_cancel(
        self, request: orders.ConfirmOrderCancelRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.ConfirmOrderCancelResponse:
        """Cancels what a market has canceled."""
        return await call(self._orders.ConfirmOrderCancel, _with_request_id(request), timeout_seconds)

    async def reject_order_cancel(
        self, request: orders.RejectOrderCancelRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.RejectOrderCancelResponse:
        """Says that a market has canceled nothing."""
        return await call(self._orders.RejectOrderCancel, _with_request_id(request), timeout_seconds)

    async def bust_fill(
        self, request: orders.BustFillRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.BustFillResponse:
        """Takes a fill back."""
        return await call(self._orders.BustFill, _with_request_id(request), timeout_seconds)

    async def hold_order(
        self, request: orders.HoldOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.HoldOrderResponse:
        """Keeps an order from being shipped."""
        return await call(self._orders.HoldOrder, _with_request_id(request), timeout_seconds)

    async def release_order_hold(
        self, request: orders.ReleaseOrderHoldRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.ReleaseOrderHoldResponse:
        """Takes a hold off."""
        return await call(self._orders.ReleaseOrderHold, _with_request_id(request), timeout_seconds)

    async def record_payment(
        self, request: orders.RecordPaymentRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.RecordPaymentResponse:
        """Records money that was authorized or captured."""
        return await call(self._orders.RecordPayment, _with_request_id(request), timeout_seconds)

    async def record_refund(
        self, request: orders.RecordRefundRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.RecordRefundResponse:
        """Records money that was given back."""
        return await call(self._orders.RecordRefund, _with_request_id(request), timeout_seconds)

    async def erase_order_personal_data(
        self, request: orders.EraseOrderPersonalDataRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.EraseOrderPersonalDataResponse:
        """Erases an order's personal data for good."""
        return await call(self._orders.EraseOrderPersonalData, _with_request_id(request), timeout_seconds)

    async def erase_customer_personal_data(
        self, request: orders.EraseCustomerPersonalDataRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.EraseCustomerPersonalDataResponse:
        """Erases the personal data of a customer's next orders; go on with the token until there is none."""
        return await call(self._orders.EraseCustomerPersonalData, _with_request_id(request), timeout_seconds)

    async def record_shipment(
        self, request: fulfillment.RecordShipmentRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> fulfillment.RecordShipmentResponse:
        """Records units that were handed to a carrier."""
        return await call(self._fulfillment.RecordShipment, _with_request_id(request), timeout_seconds)

    async def record_delivery(
        self, request: fulfillment.RecordDeliveryRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> fulfillment.RecordDeliveryResponse:
        """Records units that arrived."""
        return await call(self._fulfillment.RecordDelivery, _with_request_id(request), timeout_seconds)

    async def get_shipment(
        self, request: fulfillment.GetShipmentRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> fulfillment.GetShipmentResponse:
        """Reads one shipment."""
        return await call(self._fulfillment.GetShipment, request, timeout_seconds)

    async def list_shipments(
        self, request: fulfillment.ListShipmentsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> fulfillment.ListShipmentsResponse:
        """Reads one page of an order's shipments."""
        return await call(self._fulfillment.ListShipments, request, timeout_seconds)

    async def request_return(
        self, request: returns.RequestReturnRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.RequestReturnResponse:
        """Asks to give delivered units back."""
        return await call(self._returns.RequestReturn, _with_request_id(request), timeout_seconds)

    async def approve_return(
        self, request: returns.ApproveReturnRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.ApproveReturnResponse:
        """Grants a return."""
        return await call(self._returns.ApproveReturn, _with_request_id(request), timeout_seconds)

    async def reject_return(
        self, request: returns.RejectReturnRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.RejectReturnResponse:
        """Refuses a return."""
        return await call(self._returns.RejectReturn, _with_request_id(request), timeout_seconds)

    async def receive_return(
        self, request: returns.ReceiveReturnRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.ReceiveReturnResponse:
        """Records what became of returned units."""
        return await call(self._returns.ReceiveReturn, _with_request_id(request), timeout_seconds)

    async def get_return(
        self, request: returns.GetReturnRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.GetReturnResponse:
        """Reads one return."""
        return await call(self._returns.GetReturn, request, timeout_seconds)

    async def list_returns(
        self, request: returns.ListReturnsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> returns.ListReturnsResponse:
        """Reads one page of an order's returns."""
        return await call(self._returns.ListReturns, request, timeout_seconds)

    async def get_order(
        self, request: orders.GetOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.GetOrderResponse:
        """Reads one order."""
        return await call(self._orders.GetOrder, request, timeout_seconds)

    async def batch_get_orders(
        self, request: orders.BatchGetOrdersRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.BatchGetOrdersResponse:
        """Reads many orders as they stood at one moment."""
        return await call(self._orders.BatchGetOrders, request, timeout_seconds)

    async def list_orders(
        self, request: orders.ListOrdersRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.ListOrdersResponse:
        """Reads one page of orders, newest first."""
        return await call(self._orders.ListOrders, request, timeout_seconds)

    async def list_all_orders(
        self, request: orders.ListOrdersRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncIterator[Order]:
        """Every order from the request's page on, read page by page; the timeout is for each page."""
        async for page in pages(self._orders.ListOrders, request, timeout_seconds):
            for order in page.orders:
                yield order

    async def list_order_events(
        self, request: orders.ListOrderEventsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.ListOrderEventsResponse:
        """Reads one page of an order's history, oldest first."""
        return await call(self._orders.ListOrderEvents, request, timeout_seconds)

    async def list_all_order_events(
        self, request: orders.ListOrderEventsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncIterator[OrderEvent]:
        """Every event of the order from the request's page on; the timeout is for each page."""
        async for page in pages(self._orders.ListOrderEvents, request, timeout_seconds):
            for event in page.events:
                yield event

    async def get_command_result(
        self, request: orders.GetCommandResultRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> orders.GetCommandResultResponse:
        """Says what became of a command; with `fence`, for good."""
        return await call(self._orders.GetCommandResult, request, timeout_seconds)

    async def get_log_head(
        self, request: log.GetLogHeadRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.GetLogHeadResponse:
        """Says where each shard of the log stands."""
        return await call(self._log.GetLogHead, request, timeout_seconds)

    async def resolve_time(
        self, request: log.ResolveTimeRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.ResolveTimeResponse:
        """Turns a time into a position."""
        return await call(self._log.ResolveTime, request, timeout_seconds)

    async def get_digest(
        self, request: log.GetDigestRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.GetDigestResponse:
        """Proves what the order database holds."""
        return await call(self._log.GetDigest, request, timeout_seconds)

    async def get_backlog(
        self, request: log.GetBacklogRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.GetBacklogResponse:
        """Says how much of the log is not on the bus yet."""
        return await call(self._log.GetBacklog, request, timeout_seconds)

    async def replay_events(
        self, request: log.ReplayEventsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.ReplayEventsResponse:
        """Publishes events once more, on a topic of their own; go on with the token until there is none."""
        return await call(self._log.ReplayEvents, request, timeout_seconds)

    async def list_log_subscriptions(
        self, request: log.ListLogSubscriptionsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.ListLogSubscriptionsResponse:
        """Reads one page of those who read the log under a name."""
        return await call(self._log.ListLogSubscriptions, request, timeout_seconds)

    async def delete_log_subscription(
        self, request: log.DeleteLogSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> log.DeleteLogSubscriptionResponse:
        """Deletes a subscription to the log that nobody will open again."""
        return await call(self._log.DeleteLogSubscription, request, timeout_seconds)


def _with_request_id(request: Command) -> Command:
    if request.request_id:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = new_request_id()
    return copy
