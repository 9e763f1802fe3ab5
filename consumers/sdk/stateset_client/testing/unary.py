"""The RPCs of a fake Sync Server beside its streams: reads, places, and the management of subscriptions."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Digest, Freshness, Position
from stateset.order.v1.order_pb2 import ORDER_VIEW_BASIC, ORDER_VIEW_UNSPECIFIED, Order
from stateset.stream.v1 import stream_pb2 as stream
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.testing.digests import digest_of
from stateset_client.testing.parking import Parking, ParkingRpcs
from stateset_client.testing.session import Log, Refusal, now
from stateset_client.testing.settling import Book

_PAGE: Final = 50
_PAGE_MAX: Final = 500
_COMMIT_SECONDS: Final = 10
_EVERYTHING: Final = 1 << 30


class Subscribed(Log, Parking, Protocol):
    """A log with durable subscriptions."""

    floors: dict[str, Position]
    epochs: dict[str, int]
    filters: dict[str, str]

    def streams(self, name: str) -> int:
        """How many streams of the subscription are open."""

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
        size = _size(request.page_size)
        found = [order for order in self._orders(request.filter) if order.order_id > request.page_token]
        basic = request.view in (ORDER_VIEW_UNSPECIFIED, ORDER_VIEW_BASIC)
        page = [_viewed(order, basic=basic) for order in found[:size]]
        token = page[-1].order_id if len(found) > size else ""
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
                position = self._at(request.time)
            case "kafka":
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NO_BUS", "this server does not read Kafka")
            case _:
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "at: must be set")
        self._start(stream.Start(position=self._filled(position, self._fake.head)))
        times = [self._time_of(shard, seq) for shard, seq in enumerate(position.next_seq) if seq]
        time = min(times, key=lambda each: (each.seconds, each.nanos))
        return sync.ResolvePositionResponse(position=position, token=_token_of(position), time=time)

    def CreateSubscription(self, request: sync.CreateSubscriptionRequest) -> sync.CreateSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        fake, name = self._fake, request.name
        if name in fake.epochs and fake.filters.get(name, "") != request.filter:
            raise Refusal(
                grpc.StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_FILTER_CHANGED", "made with another filter"
            )
        if name not in fake.epochs:
            fake.floors[name] = self._start(request.start)
            fake.epochs[name], fake.filters[name] = 0, request.filter
        return sync.CreateSubscriptionResponse(subscription=self._found(name))

    def GetSubscription(self, request: sync.GetSubscriptionRequest) -> sync.GetSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        return sync.GetSubscriptionResponse(subscription=self._found(request.name))

    def ListSubscriptions(self, request: sync.ListSubscriptionsRequest) -> sync.ListSubscriptionsResponse:  # noqa: N802 - as above
        """See the contract."""
        size = _size(request.page_size)
        names = sorted(name for name in self._fake.epochs if name > request.page_token)
        token = names[size - 1] if len(names) > size else ""
        return sync.ListSubscriptionsResponse(subscriptions=map(self._found, names[:size]), next_page_token=token)

    def DeleteSubscription(self, request: sync.DeleteSubscriptionRequest) -> sync.DeleteSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        for kept in (self._fake.floors, self._fake.epochs, self._fake.filters, self._fake.books):
            kept.pop(request.name, None)
        self._fake.fence(request.name)
        return sync.DeleteSubscriptionResponse()

    def SeekSubscription(self, request: sync.SeekSubscriptionRequest) -> sync.SeekSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        fake, name = self._fake, request.name
        floor = self._found(name).floor
        to = stream.Start()
        to.CopyFrom(request.to)
        if to.HasField("position"):
            to.position.CopyFrom(self._filled(to.position, floor))
        fake.floors[name] = self._start(to)
        fake.books[name] = Book(parked=fake.books[name].parked)
        fake.epochs[name] += 1
        fake.fence(name)
        return sync.SeekSubscriptionResponse(subscription=self._found(name))

    def AckSubscription(self, request: sync.AckSubscriptionRequest) -> sync.AckSubscriptionResponse:  # noqa: N802 - as above
        """See the contract."""
        through = _position_of(request.token) if request.token else request.through
        result = self._ack(request.subscription, request.delivery_epoch, through)
        return sync.AckSubscriptionResponse(status=result.status, floor=result.floor)

    def GetLag(self, request: sync.GetLagRequest) -> sync.GetLagResponse:  # noqa: N802 - as above
        """See the contract."""
        found = self._found(request.name)
        events = sum(self._fake.head.next_seq) - sum(found.floor.next_seq)
        bound = stream.LAG_BOUND_DELIVERY if found.streams else stream.LAG_BOUND_ABSENT
        lag = stream.Lag(events=events, bound_by=bound)
        return sync.GetLagResponse(lag=lag, floor=found.floor, streams=found.streams)

    async def PutCheckpoints(self, requests: AsyncIterator[sync.PutCheckpointsRequest]) -> sync.PutCheckpointsResponse:  # noqa: N802 - as above
        """See the contract."""
        reply = sync.PutCheckpointsResponse()
        async for request in requests:
            match self._ack(request.name, request.delivery_epoch, request.through).status:
                case stream.ACK_STATUS_COMMITTED:
                    reply.committed += 1
                case stream.ACK_STATUS_ALREADY:
                    reply.already += 1
                case _:
                    reply.fenced += 1
                    reply.fenced_names.append(request.name)
        return reply

    def _ack(self, name: str, delivery_epoch: int, through: Position) -> stream.AckResult:
        self._start(stream.Start(position=self._filled(through, self._fake.head)))
        if name not in self._fake.epochs:
            return stream.AckResult(status=stream.ACK_STATUS_FENCED)
        return self._fake.commit(name, delivery_epoch, stream.Ack(through=through))

    def _start(self, start: stream.Start) -> Position:
        if start.HasField("time"):
            return self._at(start.time)
        return self._fake.start_of(stream.Open(start=start))

    def _found(self, name: str) -> sync.Subscription:
        fake = self._fake
        if name not in fake.epochs:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", f"there is no subscription {name!r}")
        return sync.Subscription(
            name=name,
            filter=fake.filters.get(name, ""),
            floor=fake.floors.get(name) or self._start(stream.Start()),
            delivery_epoch=fake.epochs[name],
            streams=fake.streams(name),
        )

    def _filled(self, position: Position, rest: Position) -> Position:
        """What the position says nothing about, from another one."""
        if not any(position.next_seq):
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "it says nothing about any shard")
        seqs = list(position.next_seq)
        if len(seqs) == len(rest.next_seq):
            seqs = [mine or theirs for mine, theirs in zip(seqs, rest.next_seq, strict=True)]
        return Position(log_epoch=position.log_epoch, next_seq=seqs)

    def _reached(self, request: sync.GetOrderRequest | sync.ListOrdersRequest | sync.GetDigestRequest) -> Freshness:
        head, asked = self._fake.head, request.min_position
        if asked.log_epoch and asked.log_epoch != head.log_epoch:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED", "a position of another log")
        if any(seq > there for seq, there in zip(asked.next_seq, head.next_seq, strict=False)):
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED", "not yet there")
        return Freshness(position=head, as_of=now())

    def _orders(self, text: str) -> list[Order]:
        return list(self._fake.orders(stream.Open(filter=text)).orders)

    def _at(self, time: Timestamp) -> Position:
        seqs = []
        for shard, next_seq in enumerate(self._fake.head.next_seq):
            batch = self._fake.batch(shard, 1, stream.Open(), _EVERYTHING)
            later = [
                event.seq
                for event in (batch.events if batch else ())
                if event.metadata.record_time.ToMicroseconds() >= time.ToMicroseconds()
            ]
            seqs.append(later[0] if later else next_seq)
        return self._fake.position(seqs)

    def _time_of(self, shard: int, seq: int) -> Timestamp:
        batch = self._fake.batch(shard, seq, stream.Open(), 1)
        if batch is not None:
            return batch.events[0].metadata.record_time
        return Timestamp(seconds=now().seconds - _COMMIT_SECONDS)


def _viewed(order: Order, *, basic: bool) -> Order:
    if basic:
        order.ClearField("lines")
    return order


def _size(asked: int) -> int:
    if asked < 0:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "page_size: must not be negative")
    return min(asked or _PAGE, _PAGE_MAX)


def _token_of(position: Position) -> str:
    return urlsafe_b64encode(position.SerializeToString()).decode().rstrip("=")


def _position_of(token: str) -> Position:
    try:
        return Position.FromString(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "this is no token") from error
