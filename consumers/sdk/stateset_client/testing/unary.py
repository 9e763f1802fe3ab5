"""The RPCs of a fake Sync Server beside its streams: reads, places, and the management of subscriptions."""

from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Digest, Freshness, Position
from stateset.order.v1.order_pb2 import ORDER_VIEW_BASIC, ORDER_VIEW_UNSPECIFIED, Order
from stateset.stream.v1 import stream_pb2 as stream
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.testing.checks import check_filter, check_log, check_start, refuse_request, spoken_of
from stateset_client.testing.digests import digest_of
from stateset_client.testing.filters import ORDER_FIELDS, parse
from stateset_client.testing.pages import page_after, page_size, page_token
from stateset_client.testing.parking import Parking, ParkingRpcs
from stateset_client.testing.refusal import Refusal
from stateset_client.testing.session import Log, now

_COMMIT_SECONDS: Final = 10
_BOUNDS: Final = (  # one stream's speaks for all: that of the one that least will happen to by itself
    stream.LAG_BOUND_NONE,
    stream.LAG_BOUND_DELIVERY,
    stream.LAG_BOUND_CREDIT,
)


class Subscribed(Log, Parking, Protocol):
    """A log with durable subscriptions."""

    floors: dict[str, Position]
    filters: dict[str, str]
    retired_epoch: int

    @property
    def earliest(self) -> Position:
        """At the first event of every shard that is kept."""

    def make(self, name: str, text: str, start: Position) -> None:
        """There is the subscription from now on; one that is there stays as it is.

        Raises:
            Refusal: It was made with another filter.
        """

    def streams(self, name: str) -> int:
        """How many streams of the subscription are open."""

    def lags(self, name: str) -> list[stream.Lag]:
        """That of each stream of the subscription that is open."""

    def fence(self, name: str) -> None:
        """Ends them, as superseded."""


class UnaryRpcs(ParkingRpcs):
    """Answers as the Sync Server does, as far as a test double can: nobody but the caller has subscriptions here."""

    def __init__(self, fake: Subscribed) -> None:
        super().__init__(fake)
        self._fake = fake

    def GetOrder(self, request: sync.GetOrderRequest) -> sync.GetOrderResponse:  # noqa: N802 - named as in the contract
        """See the contract."""
        freshness = self._reached(request)
        for order in self._orders(""):
            if order.order_id == request.order_id:
                view = request.view
                return sync.GetOrderResponse(order=_viewed(order, basic=view == ORDER_VIEW_BASIC), freshness=freshness)
        raise Refusal(grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND", f"there is no order {request.order_id!r}")

    def ListOrders(self, request: sync.ListOrdersRequest) -> sync.ListOrdersResponse:  # noqa: N802 - as above
        """See the contract."""
        freshness = self._reached(request)
        size = page_size(request.page_size)
        basic = request.view in (ORDER_VIEW_UNSPECIFIED, ORDER_VIEW_BASIC)
        listed = f"{parse(request.filter, ORDER_FIELDS).hash.hex()} {basic}"
        after = page_after(request.page_token, listed)
        found = [order for order in self._orders(request.filter) if order.order_id > after]
        page = [_viewed(order, basic=basic) for order in found[:size]]
        token = page_token(page[-1].order_id, listed) if len(found) > size else ""
        return sync.ListOrdersResponse(orders=page, next_page_token=token, freshness=freshness)

    def GetDigest(self, request: sync.GetDigestRequest) -> sync.GetDigestResponse:  # noqa: N802 - as above
        """See the contract."""
        freshness = self._reached(request)
        count, total = digest_of(self._orders(request.filter))
        return sync.GetDigestResponse(digest=Digest(count=count, hash=total), freshness=freshness)

    def ResolvePosition(self, request: sync.ResolvePositionRequest) -> sync.ResolvePositionResponse:  # noqa: N802 - as above
        """See the contract. There is no Kafka."""
        match request.WhichOneof("at"):
            case "position":
                position = request.position
            case "token":
                position = _position_of(request.token)
            case "time":
                position = self._fake.start_of(stream.Open(start=stream.Start(time=request.time)))
            case _:
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NO_BUS", "this server does not read Kafka")
        shards = spoken_of(position)
        check_log(position, self._fake.head)
        if not shards:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "it says nothing about any shard")
        check_start(position, self._fake.earliest, self._fake.head, shards)
        times = [self._time_of(shard, position.next_seq[shard]) for shard in shards]
        time = min(times, key=lambda each: (each.seconds, each.nanos))
        return sync.ResolvePositionResponse(position=position, token=_token_of(position), time=time)

    def CreateSubscription(self, request: sync.CreateSubscriptionRequest) -> sync.CreateSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        start = self._fake.start_of(stream.Open(start=request.start, filter=request.filter))
        self._fake.make(request.name, request.filter, start)
        return sync.CreateSubscriptionResponse(subscription=self._found(request.name))

    def GetSubscription(self, request: sync.GetSubscriptionRequest) -> sync.GetSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        return sync.GetSubscriptionResponse(subscription=self._found(request.name))

    def ListSubscriptions(self, request: sync.ListSubscriptionsRequest) -> sync.ListSubscriptionsResponse:  # noqa: N802 - as above
        """See the contract."""
        size, after = page_size(request.page_size), page_after(request.page_token, "")
        names = sorted(name for name in self._fake.epochs if name > after)
        token = page_token(names[size - 1], "") if len(names) > size else ""
        return sync.ListSubscriptionsResponse(subscriptions=map(self._found, names[:size]), next_page_token=token)

    def DeleteSubscription(self, request: sync.DeleteSubscriptionRequest) -> sync.DeleteSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        self._fake.retired_epoch = max(self._fake.retired_epoch, self._fake.epochs.get(request.name, -1) + 1)
        for kept in (self._fake.floors, self._fake.epochs, self._fake.filters, self._fake.books):
            kept.pop(request.name, None)
        self._fake.fence(request.name)
        return sync.DeleteSubscriptionResponse()

    def SeekSubscription(self, request: sync.SeekSubscriptionRequest) -> sync.SeekSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        fake, name = self._fake, request.name
        floor = self._found(name).floor
        to = fake.start_of(
            stream.Open(start=request.to, filter=fake.filters[name], shards=spoken_of(request.to.position))
        )
        floors = [there or here for there, here in zip(to.next_seq, floor.next_seq, strict=True)]
        fake.floors[name] = Position(log_epoch=to.log_epoch, next_seq=floors, filter_hash=to.filter_hash)
        fake.books[name] = fake.books[name].moved()
        fake.epochs[name] += 1
        fake.fence(name)
        return sync.SeekSubscriptionResponse(subscription=self._found(name))

    def AckSubscription(self, request: sync.AckSubscriptionRequest) -> sync.AckSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        through = _position_of(request.token) if request.token else request.through
        self._check_done(through)
        result = self._ack(request.subscription, request.delivery_epoch, through)
        return sync.AckSubscriptionResponse(status=result.status, floor=result.floor)

    def GetLag(self, request: sync.GetLagRequest) -> sync.GetLagResponse:  # noqa: N802 - as above
        """See the contract."""
        found = self._found(request.name)
        events = sum(self._fake.head.next_seq[shard] - found.floor.next_seq[shard] for shard in spoken_of(found.floor))
        lags = self._fake.lags(request.name)
        lag = stream.Lag(
            events=events,
            unacked=sum(each.unacked for each in lags),
            parked=len(self._fake.books[request.name].parked),
            bound_by=max((each.bound_by for each in lags), key=_BOUNDS.index, default=stream.LAG_BOUND_ABSENT),
        )
        return sync.GetLagResponse(lag=lag, floor=found.floor, streams=found.streams)

    async def PutCheckpoints(self, requests: AsyncIterator[sync.PutCheckpointsRequest]) -> sync.PutCheckpointsResponse:  # noqa: N802 - as above
        """See the contract."""
        reply = sync.PutCheckpointsResponse()
        async for request in requests:
            refuse_request(request)
            self._check_done(request.through)
            match self._ack(request.name, request.delivery_epoch, request.through).status:
                case stream.ACK_STATUS_COMMITTED:
                    reply.committed += 1
                case stream.ACK_STATUS_ALREADY:
                    reply.already += 1
                case _:
                    reply.fenced += 1
                    reply.fenced_names.append(request.name)
        return reply

    def _check_done(self, through: Position) -> None:
        """What a stream was sent is not known here: the head is the bound."""
        check_log(through, self._fake.head)
        nowhere = Position(next_seq=[0] * len(through.next_seq))
        check_start(through, nowhere, self._fake.head, spoken_of(through))

    def _ack(self, name: str, delivery_epoch: int, through: Position) -> stream.AckResult:
        if name not in self._fake.epochs:
            return stream.AckResult(status=stream.ACK_STATUS_FENCED)
        check_filter(through, self._fake.floors[name].filter_hash)
        return self._fake.commit(name, delivery_epoch, stream.Ack(through=through))

    def _found(self, name: str) -> sync.Subscription:
        self._refuse_unknown(name)
        fake = self._fake
        return sync.Subscription(
            name=name,
            filter=fake.filters[name],
            floor=fake.floors[name],
            delivery_epoch=fake.epochs[name],
            streams=fake.streams(name),
        )

    def _reached(self, request: sync.GetOrderRequest | sync.ListOrdersRequest | sync.GetDigestRequest) -> Freshness:
        head, asked = self._fake.head, request.min_position
        if asked.log_epoch and asked.log_epoch != head.log_epoch:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED", "a position of another log")
        if any(seq > there for seq, there in zip(asked.next_seq, head.next_seq, strict=False)):
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED", "not yet there")
        return Freshness(position=head, as_of=now())

    def _orders(self, text: str) -> list[Order]:
        return list(self._fake.orders(stream.Open(filter=text)).orders)

    def _time_of(self, shard: int, seq: int) -> Timestamp:
        batch = self._fake.batch(shard, seq, stream.Open(), 1)
        if batch is not None:
            return batch.events[0].metadata.record_time
        return Timestamp(seconds=now().seconds - _COMMIT_SECONDS)


def _viewed(order: Order, *, basic: bool) -> Order:
    if basic:
        order.ClearField("lines")
    return order


def _token_of(position: Position) -> str:
    return urlsafe_b64encode(position.SerializeToString()).decode().rstrip("=")


def _position_of(token: str) -> Position:
    try:
        return Position.FromString(b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (ValueError, DecodeError) as error:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "this is no token") from error
