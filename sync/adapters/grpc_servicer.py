"""The service's RPCs: translate, ask, translate back."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from stateset.common.v1 import position_pb2
from stateset.order.v1 import order_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.opening import first_of
from infra.runtime.grpc.reads import at_least, filtered, listing
from infra.runtime.grpc.wire import freshness_to_wire, position_to_wire
from sync.adapters.checked import Checked
from sync.adapters.grpc_management import ManagementServicer
from sync.adapters.grpc_parking import ParkingServicer
from sync.adapters.grpc_positions import PositionServicer
from sync.adapters.wire import ORDER_FIELDS, lag_to_wire, order_to_wire, server_frame_to_wire
from sync.adapters.wire_requests import client_frames, done_from_wire, name_from_wire, open_from_wire
from sync.application.floors import Floors
from sync.application.lag import Lags
from sync.application.management import Management
from sync.application.parked import ParkingPlaces
from sync.application.positions import Positions
from sync.application.queries import AsOf, Queries
from sync.application.subscribe import Streams
from sync.domain.subscription import SubscriptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the RPCs ask."""

    streams: Streams
    floors: Floors
    queries: Queries
    lags: Lags
    management: Management
    places: ParkingPlaces
    positions: Positions


class SyncServicer(ManagementServicer, ParkingServicer, PositionServicer):
    """Serves `stateset.sync.v1.SyncService`."""

    def __init__(self, parts: Parts, draining: Draining, *, shards: int) -> None:
        ManagementServicer.__init__(self, parts.management, parts.floors)
        ParkingServicer.__init__(self, parts.places)
        PositionServicer.__init__(self, parts.positions)
        self._streams = parts.streams
        self._floors = parts.floors
        self._queries = parts.queries
        self._lags = parts.lags
        self._draining = draining
        self._shards = shards

    async def StreamEvents(
        self, request: sync_service_pb2.StreamEventsRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        """See the contract."""
        asked = open_from_wire(request.open, path="open", shards=self._shards, durable=False)
        async with self._streams.open(asked, call.principal) as stream, aclosing(stream.frames()) as frames:
            async for frame in frames:
                yield server_frame_to_wire(frame)

    async def Subscribe(
        self, requests: AsyncIterator[sync_service_pb2.SubscribeRequest], call: Call
    ) -> AsyncGenerator[bytes, None]:
        """See the contract."""
        requests = aiter(requests)
        first = await first_of(requests, self._draining)
        asked = open_from_wire(first.frame.open, path="frame.open", shards=self._shards, durable=True)
        async with (
            self._streams.open(asked, call.principal, client_frames(requests)) as stream,
            aclosing(stream.frames()) as frames,
        ):
            async for frame in frames:
                yield server_frame_to_wire(frame)

    async def AckSubscription(
        self, request: sync_service_pb2.AckSubscriptionRequest, call: Call
    ) -> sync_service_pb2.AckSubscriptionResponse:
        """See the contract."""
        through = done_from_wire(request)
        key = SubscriptionKey(principal=call.principal, name=request.subscription)
        outcome, floor = await self._floors.ack(key, request.delivery_epoch, through)
        return sync_service_pb2.AckSubscriptionResponse(
            status=stream_pb2.AckStatus.Value(f"ACK_STATUS_{outcome}"), floor=position_to_wire(floor)
        )

    async def GetLag(self, request: sync_service_pb2.GetLagRequest, call: Call) -> sync_service_pb2.GetLagResponse:
        """See the contract."""
        key = SubscriptionKey(principal=call.principal, name=name_from_wire(request.name))
        found = await self._lags.of(key, [stream.session.standing for stream in self._streams.of(key)])
        return sync_service_pb2.GetLagResponse(
            lag=lag_to_wire(found.lag), floor=position_to_wire(found.floor), streams=found.streams
        )

    async def GetOrder(
        self, request: sync_service_pb2.GetOrderRequest, call: Call
    ) -> sync_service_pb2.GetOrderResponse:
        """See the contract."""
        checked = Checked()
        checked.text(request.order_id, "order_id")
        checked.refuse_unless(bool(request.order_id), "order_id", "must be set")
        checked.done()
        row, as_of = await self._queries.order(request.order_id, at_least(request, call))
        return sync_service_pb2.GetOrderResponse(
            order=order_to_wire(row, request.view), freshness=self._freshness(as_of)
        )

    async def ListOrders(
        self, request: sync_service_pb2.ListOrdersRequest, call: Call
    ) -> sync_service_pb2.ListOrdersResponse:
        """See the contract."""
        view = request.view or order_pb2.ORDER_VIEW_BASIC
        asked = listing(request, ORDER_FIELDS, (str,), variant=str(view))
        after = asked.after or ("",)
        page, as_of = await self._queries.orders(asked.term, after[0], asked.size, at_least(request, call))
        orders = [order_to_wire(row, view) for row in page.orders]
        keys, sizes = [(order.order_id,) for order in orders], [order.ByteSize() for order in orders]
        count, token = asked.cut(keys, sizes, more=page.more)
        return sync_service_pb2.ListOrdersResponse(
            orders=orders[:count], next_page_token=token, freshness=self._freshness(as_of)
        )

    async def GetDigest(
        self, request: sync_service_pb2.GetDigestRequest, call: Call
    ) -> sync_service_pb2.GetDigestResponse:
        """See the contract."""
        term = filtered(request, ORDER_FIELDS)
        digest, as_of = await self._queries.digest(term, at_least(request, call))
        return sync_service_pb2.GetDigestResponse(
            digest=position_pb2.Digest(count=digest.count, hash=digest.hash), freshness=self._freshness(as_of)
        )

    def _freshness(self, as_of: AsOf) -> position_pb2.Freshness:
        return freshness_to_wire(as_of.position, as_of.as_of_us, as_of.staleness_us)
