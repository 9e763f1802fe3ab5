"""The Sync Server's RPCs beside its streams: every call has a deadline, every one is safe to repeat."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import grpc.aio
from stateset.order.v1.order_pb2 import Order
from stateset.sync.v1 import sync_service_pb2 as sync
from stateset.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from stateset_client.calls import TIMEOUT_SECONDS, call, pages
from stateset_client.channel import open_call_channel
from stateset_client.retry import retrying


class SyncClient:
    """Typed calls to the Sync Server; its streams are read by `Subscription` and `EventStream`.

    Every method takes the contract's request and returns its response. `timeout_seconds` is for the whole call, its
    repetitions included. A read's `min_position` is waited for as long.

    Every method raises `StateSetError`, or the subclass that its reason has.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._sync = SyncServiceStub(channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: str) -> AsyncIterator[Self]:
        """A client of the Sync Server at `host:port`. It connects with the first call."""
        async with open_call_channel(address) as channel:
            yield cls(channel)

    async def get_order(
        self, request: sync.GetOrderRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.GetOrderResponse:
        """Reads one order from the read model."""
        return await call(self._sync.GetOrder, request, timeout_seconds)

    async def list_orders(
        self, request: sync.ListOrdersRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.ListOrdersResponse:
        """Reads one page of the read model's orders, by id."""
        return await call(self._sync.ListOrders, request, timeout_seconds)

    async def list_all_orders(
        self, request: sync.ListOrdersRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncIterator[Order]:
        """Every order from the request's page on, read page by page; the timeout is for each page."""
        async for page in pages(self._sync.ListOrders, request, timeout_seconds):
            for order in page.orders:
                yield order

    async def get_digest(
        self, request: sync.GetDigestRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.GetDigestResponse:
        """Proves what the read model holds of the orders that a filter lists."""
        return await call(self._sync.GetDigest, request, timeout_seconds)

    async def resolve_position(
        self, request: sync.ResolvePositionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.ResolvePositionResponse:
        """Says one place in the log in each of its forms."""
        return await call(self._sync.ResolvePosition, request, timeout_seconds)

    async def get_lag(
        self, request: sync.GetLagRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.GetLagResponse:
        """Says how far behind a durable subscription is."""
        return await call(self._sync.GetLag, request, timeout_seconds)

    async def create_subscription(
        self, request: sync.CreateSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.CreateSubscriptionResponse:
        """Makes a durable subscription; one of the same name and filter stays as it is."""
        return await call(self._sync.CreateSubscription, request, timeout_seconds)

    async def get_subscription(
        self, request: sync.GetSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.GetSubscriptionResponse:
        """Reads a subscription of the caller."""
        return await call(self._sync.GetSubscription, request, timeout_seconds)

    async def list_subscriptions(
        self, request: sync.ListSubscriptionsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.ListSubscriptionsResponse:
        """Reads one page of the caller's subscriptions, by name."""
        return await call(self._sync.ListSubscriptions, request, timeout_seconds)

    async def list_all_subscriptions(
        self, request: sync.ListSubscriptionsRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncIterator[sync.Subscription]:
        """Every subscription from the request's page on; the timeout is for each page."""
        async for page in pages(self._sync.ListSubscriptions, request, timeout_seconds):
            for subscription in page.subscriptions:
                yield subscription

    async def delete_subscription(
        self, request: sync.DeleteSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.DeleteSubscriptionResponse:
        """Deletes a subscription; its streams end as fenced."""
        return await call(self._sync.DeleteSubscription, request, timeout_seconds)

    async def seek_subscription(
        self, request: sync.SeekSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.SeekSubscriptionResponse:
        """Moves a subscription's floor; its streams end as fenced."""
        return await call(self._sync.SeekSubscription, request, timeout_seconds)

    async def ack_subscription(
        self, request: sync.AckSubscriptionRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.AckSubscriptionResponse:
        """Says from outside its stream that everything below a position is done."""
        return await call(self._sync.AckSubscription, request, timeout_seconds)

    async def list_parked(
        self, request: sync.ListParkedRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.ListParkedResponse:
        """Reads one page of a subscription's parked events, by shard and seq."""
        return await call(self._sync.ListParked, request, timeout_seconds)

    async def list_all_parked(
        self, request: sync.ListParkedRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> AsyncIterator[sync.ParkedEvent]:
        """Every parked event from the request's page on; the timeout is for each page."""
        async for page in pages(self._sync.ListParked, request, timeout_seconds):
            for parked in page.parked:
                yield parked

    async def replay_parked(
        self, request: sync.ReplayParkedRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.ReplayParkedResponse:
        """Has parked events sent again."""
        return await call(self._sync.ReplayParked, request, timeout_seconds)

    async def discard_parked(
        self, request: sync.DiscardParkedRequest, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.DiscardParkedResponse:
        """Forgets parked events for good."""
        return await call(self._sync.DiscardParked, request, timeout_seconds)

    async def put_checkpoints(
        self, checkpoints: Sequence[sync.PutCheckpointsRequest], *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> sync.PutCheckpointsResponse:
        """Moves the floors of many subscriptions. Those of a call that failed may be put again."""
        return await retrying(
            lambda left_seconds: self._sync.PutCheckpoints(iter(checkpoints), timeout=left_seconds), timeout_seconds
        )
