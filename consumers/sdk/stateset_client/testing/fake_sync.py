"""A Sync Server for tests: the real wire, in this process, with the events and the faults that the test asks for."""

import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self
from zlib import crc32

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import EventBatch, ServerFrame, SnapshotOrders
from stateset.stream.v1 import stream_pb2 as stream

from stateset_client.testing.checks import check_filter, check_log, check_start, refused
from stateset_client.testing.filters import parse
from stateset_client.testing.handlers import handlers
from stateset_client.testing.refusal import Refusal
from stateset_client.testing.session import Session, now
from stateset_client.testing.settling import Book, Place, Settling, place_of


class FakeSync:
    """Speaks the Sync Server's RPCs and the Order Service's two streams, from memory.

    It accepts and refuses what the real one does; what a filter means, the test says. Single events are settled, come
    again and are parked as there; only, nothing makes it pause.

        async with FakeSync.start(shards=2) as sync:
            sync.append(OrderEvent(order_id="o-1", version=1))
            async with Subscription(sync.address, "test") as subscription:
                ...

    Attributes:
        address: `host:port` to connect to.
        floors: The durable floor of each subscription that there is.
        epochs: The newest delivery epoch of each.
        retired_epoch: The highest that a deletion took: new ones begin there.
        filters: What each was made with.
        books: What is kept of each subscription beside: the events that are done above its floor, and those parked.
        opens: Every Open that was received, in order.
        acks: The position of every ack that was not refused, in order.
        sent_events: How many events were sent on all streams together.
        mute: Nothing is sent while it is set, not even heartbeats.
    """

    def __init__(self, shards: int, matches: Callable[[str, OrderEvent], bool]) -> None:
        self.address = ""
        self.log_epoch = str(uuid.uuid4())
        self.floors: dict[str, Position] = {}
        self.epochs: dict[str, int] = {}
        self.retired_epoch = 0
        self.filters: dict[str, str] = {}
        self.books: defaultdict[str, Book] = defaultdict(Book)
        self.opens: list[stream.Open] = []
        self.acks: list[Position] = []
        self.sent_events = 0
        self.mute = False
        self._logs: list[list[OrderEvent]] = [[] for _ in range(shards)]
        self._earliest = [1] * shards
        self._matches = matches
        self._sessions: set[Session] = set()

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *, shards: int = 2, matches: Callable[[str, OrderEvent], bool] = lambda _filter, _event: True
    ) -> AsyncIterator[Self]:
        """Serves on a free port of this machine while the context lasts.

        Args:
            shards: The number of shards.
            matches: Whether an event passes a filter; every event passes when it is not given.
        """
        fake = cls(shards, matches)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        for handler in handlers(fake):
            server.add_generic_rpc_handlers((handler,))
        fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield fake
        finally:
            fake.disconnect()
            await server.stop(0)

    @property
    def head(self) -> Position:
        """Behind the last event of every shard."""
        return self.position([len(events) + 1 for events in self._logs])

    @property
    def earliest(self) -> Position:
        """At the first event of every shard that is kept."""
        return self.position(self._earliest)

    def position(self, next_seq: list[int]) -> Position:
        """A position of this log."""
        return Position(log_epoch=self.log_epoch, next_seq=next_seq)

    def append(self, event: OrderEvent, *, shard: int | None = None) -> OrderEvent:
        """Records a copy of the event at the end of a shard, by its order id where none is named; returns the copy."""
        recorded = OrderEvent()
        recorded.CopyFrom(event)
        recorded.shard = crc32(event.order_id.encode()) % len(self._logs) if shard is None else shard
        recorded.seq = len(self._logs[recorded.shard]) + 1
        recorded.order.order_id, recorded.order.version = event.order_id, event.version
        recorded.metadata.log_epoch = self.log_epoch
        recorded.metadata.record_time.CopyFrom(now())
        self._logs[recorded.shard].append(recorded)
        self._wake()
        return recorded

    def lose(self, shard: int) -> None:
        """The next event of the shard will be skipped by every stream that is open, as no server should."""
        for session in self._sessions:
            session.next_seq[shard] += 1

    def forget(self, shard: int, earliest_seq: int) -> None:
        """Events below are no longer kept."""
        self._earliest[shard] = earliest_seq

    def streams(self, name: str) -> int:
        """How many streams of the subscription are open."""
        return len(self.lags(name))

    def lags(self, name: str) -> list[stream.Lag]:
        """That of each stream of the subscription that is open."""
        return [session.lag for session in self._sessions if session.is_of(name)]

    def fence(self, name: str) -> None:
        """The subscription's streams end, as superseded."""
        for session in self._sessions:
            if session.is_of(name):
                session.leave(Refusal(grpc.StatusCode.ABORTED, "FENCED", "superseded"))

    def recreate(self) -> None:
        """Another log in the same place, without events."""
        self.log_epoch = str(uuid.uuid4())
        self._logs = [[] for _ in self._logs]
        self._earliest = [1] * len(self._logs)
        self.disconnect()

    def take_over(self, name: str) -> None:
        """As if another process had opened the subscription: acks of the streams that are open are fenced."""
        if name not in self.epochs:
            self.make(name, "", self.earliest)
        self.epochs[name] += 1

    def go_away(self) -> None:
        """Every open stream says GoAway and ends with OK."""
        for session in self._sessions:
            session.leave(None)

    def disconnect(self) -> None:
        """Every open stream breaks with UNAVAILABLE."""
        for session in self._sessions:
            session.leave(Refusal(grpc.StatusCode.UNAVAILABLE, "", "cut by the test"))

    async def serve(self, session: "Session") -> AsyncIterator[ServerFrame]:
        """The frames of one stream."""
        self._sessions.add(session)
        try:
            async for frame in session.frames():
                yield frame
        finally:
            self._sessions.discard(session)

    def start_of(self, spec: stream.Open) -> Position:
        """Where the stream starts, under its filter; 0 for a shard that it does not read.

        Raises:
            Refusal: It cannot start there.
        """
        start, filter_hash = self._asked(spec), parse(spec.filter).hash
        shards = spec.shards or range(len(self._logs))
        check_log(start, self.head)
        check_filter(start, filter_hash)
        check_start(start, self.earliest, self.head, shards)
        read = [seq if shard in shards else 0 for shard, seq in enumerate(start.next_seq)]
        return Position(log_epoch=self.log_epoch, next_seq=read, filter_hash=filter_hash)

    def open_epoch(self, spec: stream.Open, start: Position) -> int:
        """The number of a new opening of the subscription; 0 without one.

        Raises:
            Refusal: It was made with another filter, or the caller names an epoch that nobody can have given.
        """
        name = spec.subscription
        if not name:
            return 0
        if spec.checkpoint_epoch > max(self.epochs.get(name, self.retired_epoch), time.time_ns() // 1_000):
            raise refused("frame.open.checkpoint_epoch", "no server can have given it: it is above the time")
        if spec.start.HasField("snapshot"):  # nothing is done before its end is acked
            pairs = zip(start.next_seq, self._earliest, strict=True)
            start = _moved(start, [earliest if seq else 0 for seq, earliest in pairs])
        self.make(name, spec.filter, start)
        floor = self.floors[name]
        resets = spec.unacked_events_max and not spec.checkpoint_epoch and not _is_stored(spec)
        if resets:
            self.books[name] = self.books[name].moved()
        self.floors[name] = _filled(start, floor) if resets else _filled(floor, start)
        self.epochs[name] = max(self.epochs[name], spec.checkpoint_epoch) + 1
        book = self.books[name]
        book.first_epoch = book.first_epoch or spec.checkpoint_epoch or self.epochs[name]
        return self.epochs[name]

    def make(self, name: str, text: str, start: Position) -> None:
        """There is the subscription from now on; one that is there stays as it is.

        Raises:
            Refusal: It was made with another filter.
        """
        floor = self.floors.get(name)
        self.epochs.setdefault(name, self.retired_epoch)
        self.filters.setdefault(name, text)
        if floor is None or floor.log_epoch != self.log_epoch:  # the floors of another log mean nothing
            self.floors[name], self.filters[name] = start, text
            self.books.pop(name, None)
        elif floor.filter_hash != start.filter_hash:
            code, message = grpc.StatusCode.FAILED_PRECONDITION, f"made with the filter {self.filters[name]!r}"
            raise Refusal(code, "SUBSCRIPTION_FILTER_CHANGED", message)

    def floor(self, spec: stream.Open) -> Position | None:
        """Below what everything is done; none without a subscription."""
        return self.floors.get(spec.subscription)

    def lose_subscriptions(self) -> None:
        """As a server whose database is lost: floors and delivery epochs begin anew."""
        self.floors.clear()
        self.epochs.clear()
        self.retired_epoch = 0
        self.filters.clear()
        self.books.clear()
        self.disconnect()

    def commit(self, name: str, delivery_epoch: int, ack: stream.Ack) -> stream.AckResult:
        """Makes an ack durable, as far as memory goes."""
        self.acks.append(ack.through)
        floor = self.floors.get(name)
        if floor is None or delivery_epoch != self.epochs[name]:
            return stream.AckResult(ack_id=ack.ack_id, status=stream.ACK_STATUS_FENCED, floor=floor)
        moved = [max(pair) for pair in zip(floor.next_seq, ack.through.next_seq, strict=True)]
        status = stream.ACK_STATUS_ALREADY if moved == list(floor.next_seq) else stream.ACK_STATUS_COMMITTED
        self.floors[name] = _moved(floor, moved)
        return stream.AckResult(ack_id=ack.ack_id, status=status, floor=self.floors[name])

    def book(self, spec: stream.Open) -> Book:
        """What is kept of the stream's subscription; an empty one where it has none."""
        return self.books[spec.subscription] if spec.subscription else Book()

    def settle(self, spec: stream.Open, delivery_epoch: int, ack: stream.Ack, settling: Settling) -> stream.AckResult:
        """Makes an ack of single events durable, as far as memory goes."""
        name = spec.subscription
        floor = self.floors.get(name)
        statuses = [stream.ACK_STATUS_FENCED] * len(ack.items)
        status = stream.ACK_STATUS_FENCED
        if floor is not None and delivery_epoch == self.epochs[name]:
            statuses = [settling.judge(item, time.monotonic()) for item in ack.items]
            status = stream.ACK_STATUS_COMMITTED
            self.floors[name] = floor = self._lifted(floor, spec)
        items = [
            stream.AckItemResult(shard=item.shard, seq=item.seq, status=each)
            for item, each in zip(ack.items, statuses, strict=True)
        ]
        return stream.AckResult(ack_id=ack.ack_id, status=status, floor=floor, items=items)

    def replay_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Has parked events sent again: one, those of an order, or all; how many."""
        chosen = self.books[name].chosen(order_id, place)
        for parked in chosen:
            parked.replaying, parked.due = True, 0.0
        for session in self._sessions:
            session.replay(name)
        return len(chosen)

    def discard_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Forgets parked events for good; how many."""
        book = self.books[name]
        chosen = book.chosen(order_id, place)
        for parked in chosen:
            book.done.add(place_of(parked.event))
            del book.parked[place_of(parked.event)]
        return len(chosen)

    def _lifted(self, floor: Position, spec: stream.Open) -> Position:
        """The floor, behind everything that is done or parked, or does not match."""
        book, lifted = self.books[spec.subscription], list(floor.next_seq)
        for shard, events in enumerate(self._logs):
            for event in events[lifted[shard] - 1 :] if lifted[shard] else ():
                matches = not spec.filter or self._matches(spec.filter, event)
                if matches and place_of(event) not in book.done | book.parked.keys():
                    break
                lifted[shard] += 1
        return _moved(floor, lifted)

    def batch(self, shard: int, first_seq: int, spec: stream.Open, events_max: int) -> EventBatch | None:
        """The next run of a shard under the stream's filter; none at its end."""
        run = self._logs[shard][first_seq - 1 : first_seq - 1 + events_max]
        if not run:
            return None
        matching = [event for event in run if not spec.filter or self._matches(spec.filter, event)]
        return EventBatch(shard=shard, first_seq=first_seq, last_seq=run[-1].seq, events=matching)

    def orders(self, spec: stream.Open) -> SnapshotOrders:
        """Every order that matches, as its last event left it; those up to `after_order_id` are left out."""
        shards = spec.shards or range(len(self._logs))
        events = {event.order_id: event for shard in shards for event in self._logs[shard]}
        orders = [
            events[order_id].order
            for order_id in sorted(events)
            if order_id > spec.start.snapshot.after_order_id
            and (not spec.filter or self._matches(spec.filter, events[order_id]))
        ]
        return SnapshotOrders(at=self.head, orders=orders)

    def _asked(self, spec: stream.Open) -> Position:
        """Where the stream is to start, unchecked."""
        match spec.start.WhichOneof("at"):
            case "position":
                return spec.start.position
            case "snapshot":
                return spec.start.snapshot.at if spec.start.snapshot.HasField("at") else self.head
            case "time":
                return self._at(spec.start.time)
        if spec.start.point == stream.START_POINT_LATEST:
            return self.head
        floor = self.floors.get(spec.subscription) if _is_stored(spec) else None
        if floor is None:
            return self.earliest
        stored = _filled(floor, self.earliest)
        stored.filter_hash = b""  # that of a subscription is compared when it is opened
        return stored

    def _at(self, time: Timestamp) -> Position:
        """At the first event of each shard that was recorded then or later, and is kept."""

        def seq(events: list[OrderEvent], earliest: int) -> int:
            late = (each.seq for each in events[earliest - 1 :] if each.metadata.record_time.ToNanoseconds() >= nanos)
            return next(late, len(events) + 1)

        nanos = time.ToNanoseconds()
        return self.position(list(map(seq, self._logs, self._earliest)))

    def _wake(self) -> None:
        for session in self._sessions:
            session.changed.set()


def _is_stored(spec: stream.Open) -> bool:
    """Whether the stream goes on at the subscription's floor; a named one does when it says nothing else."""
    unsaid = spec.start.WhichOneof("at") in (None, "point") and not spec.start.point
    return spec.start.point == stream.START_POINT_STORED or (unsaid and bool(spec.subscription))


def _filled(position: Position, rest: Position) -> Position:
    """What the position says nothing about, from another one."""
    pairs = zip(position.next_seq, rest.next_seq, strict=True)
    return _moved(position, [mine or theirs for mine, theirs in pairs])


def _moved(position: Position, next_seq: list[int]) -> Position:
    """Another place of the same log, under the same filter."""
    return Position(log_epoch=position.log_epoch, next_seq=next_seq, filter_hash=position.filter_hash)
