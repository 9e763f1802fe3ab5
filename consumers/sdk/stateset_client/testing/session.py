"""One stream of a fake server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_frame_pb2 import EventBatch, Events, Redelivery, ServerFrame, SnapshotOrders
from stateset.stream.v1 import stream_pb2 as stream

from stateset_client.testing.checks import check_done, check_filter, check_log, refuse_frame, refused
from stateset_client.testing.digests import digest_of
from stateset_client.testing.refusal import Refusal
from stateset_client.testing.settling import Book, Settling

_FRAME_EVENTS_MAX: Final = 500


class Log(Protocol):
    """What a stream asks of the server that it belongs to."""

    opens: list[stream.Open]
    sent_events: int
    mute: bool

    @property
    def earliest(self) -> Position:
        """The first event that is kept of every shard."""

    @property
    def head(self) -> Position:
        """Behind the last event of every shard."""

    def start_of(self, spec: stream.Open) -> Position:
        """Where the stream starts, under its filter; 0 for a shard that it does not read.

        Raises:
            Refusal: It cannot start there.
        """

    def open_epoch(self, spec: stream.Open, start: Position) -> int:
        """The number of a new opening of the subscription; 0 without one.

        Raises:
            Refusal: It was made with another filter.
        """

    def floor(self, spec: stream.Open) -> Position | None:
        """Below what everything is done; none without a subscription."""

    def batch(self, shard: int, first_seq: int, spec: stream.Open, events_max: int) -> EventBatch | None:
        """The next run of a shard under the stream's filter; none at its end."""

    def orders(self, spec: stream.Open) -> SnapshotOrders:
        """Every order of a snapshot that is still to be sent."""

    def book(self, spec: stream.Open) -> Book:
        """What is kept of the stream's subscription."""

    def commit(self, name: str, delivery_epoch: int, ack: stream.Ack) -> stream.AckResult:
        """Makes an ack of a position durable."""

    def settle(self, spec: stream.Open, delivery_epoch: int, ack: stream.Ack, settling: Settling) -> stream.AckResult:
        """Makes an ack of single events durable."""


class Session:
    """One stream."""

    def __init__(self, fake: Log, spec: stream.Open, *, credited: bool) -> None:
        self.changed = asyncio.Event()
        self._fake = fake
        self._spec = spec
        self._start = fake.start_of(spec)
        self.next_seq = list(self._start.next_seq)
        self._delivery_epoch = fake.open_epoch(spec, self._start)
        self._credited = credited
        self._credit = [spec.credit.events, spec.credit.bytes]
        self._settling = Settling(fake.book(spec), spec.unacked_events_max)
        self._results: list[stream.AckResult] = []
        self._refusal: Refusal | None = None
        self._left = False
        self._in_snapshot = spec.start.HasField("snapshot")
        fake.opens.append(spec)

    def is_of(self, name: str) -> bool:
        """Whether it is a stream of the subscription."""
        return bool(name) and self._spec.subscription == name

    def leave(self, refusal: Refusal | None) -> None:
        """Ends the stream: with the refusal, or with GoAway and OK."""
        self._left = True
        self._refusal = refusal
        self.changed.set()

    async def receive(self, frames: AsyncIterator[Any]) -> None:
        """Takes in what the subscriber sends, up to what cannot be."""
        try:
            async for wrapped in frames:
                if not self._take(wrapped.frame):
                    return
                self.changed.set()
        except Refusal as refusal:
            self.leave(refusal)

    def _take(self, frame: stream.ClientFrame) -> bool:
        """Whether more may come."""
        refuse_frame(frame)
        if frame.HasField("credit"):
            left = [0, 0] if frame.credit.mode == stream.CREDIT_MODE_SET else self._credit
            self._credit = [left[0] + frame.credit.events, left[1] + frame.credit.bytes]
        elif frame.HasField("ack"):
            self._results.append(self._acked(frame.ack))
        return not frame.HasField("close")

    def replay(self, name: str) -> None:
        """Events in the parking place of the subscription are to be sent again."""
        if name == self._spec.subscription:
            self._settling.replay()
            self.changed.set()

    def _acked(self, ack: stream.Ack) -> stream.AckResult:
        if not self._spec.subscription:
            raise refused("frame.ack", "the stream has no subscription to keep a floor for")
        if self._in_snapshot:
            raise refused("frame.ack", "the snapshot has not been sent to its end: nothing below can be done")
        if ack.items and not self._spec.unacked_events_max:
            raise refused("frame.ack.items", "the stream was opened without unacked_events_max")
        if ack.items:
            return self._fake.settle(self._spec, self._delivery_epoch, ack, self._settling)
        check_log(ack.through, self._start)
        check_filter(ack.through, self._start.filter_hash)
        check_done(ack.through, self.next_seq, "frame.ack.through")
        if not self._settling.finish_through(ack.through.next_seq):
            return stream.AckResult(ack_id=ack.ack_id, status=stream.ACK_STATUS_OUT_OF_ORDER)
        return self._fake.commit(self._spec.subscription, self._delivery_epoch, ack)

    async def frames(self) -> AsyncIterator[ServerFrame]:
        """Opened, then whatever is due."""
        heartbeat_seconds = self._spec.heartbeat_interval.ToMicroseconds() / 1e6 or 5.0
        interval = Duration()
        interval.FromMicroseconds(round(heartbeat_seconds * 1e6))
        opened = stream.Opened(
            position=self._start,
            delivery_epoch=self._delivery_epoch,
            heartbeat_interval=interval,
            shards=self._shards,
            batch_events_max=self._spec.batch_events_max or _FRAME_EVENTS_MAX,
            earliest=self._fake.earliest,
        )
        if self._spec.unacked_events_max and self._delivery_epoch > self._fake.book(self._spec).first_epoch:
            opened.redelivered_below.CopyFrom(self._read_of(self._fake.head.next_seq))
        yield ServerFrame(opened=opened)
        self._settling.replay()
        if self._in_snapshot:
            async for frame in self._snapshot():
                yield frame
        while not self._left:
            self.changed.clear()
            for frame in [] if self._fake.mute else self._due():
                yield frame
            try:
                again_seconds = self._settling.next_due() - time.monotonic()
                async with asyncio.timeout(min(heartbeat_seconds, again_seconds)):
                    await self.changed.wait()
            except TimeoutError:
                if not self._fake.mute:
                    yield ServerFrame(heartbeat=stream.Heartbeat())
        position = self._read_of(self.next_seq)
        if self._refusal is not None:
            yield ServerFrame(closed=stream.Closed(status=self._refusal.status(), position=position))
            raise self._refusal
        yield ServerFrame(go_away=stream.GoAway(position=position))
        yield ServerFrame(closed=stream.Closed(position=position))

    async def _snapshot(self) -> AsyncIterator[ServerFrame]:
        """The orders, as credit comes."""
        after = self._spec.start.snapshot.after_order_id
        yield ServerFrame(snapshot_begin=stream.SnapshotBegin(at=self._start, after_order_id=after))
        spec = stream.Open()
        spec.CopyFrom(self._spec)
        while not self._left and (found := self._fake.orders(spec)).orders:
            self.changed.clear()
            if self._credited and min(self._credit) <= 0:
                await self.changed.wait()
                continue
            count = self._allowed(self._spec.batch_events_max or _FRAME_EVENTS_MAX)
            part = SnapshotOrders(at=self._read_of(found.at.next_seq), orders=found.orders[:count])
            self._spend(len(part.orders), part.ByteSize())
            spec.start.snapshot.after_order_id = part.orders[-1].order_id
            yield ServerFrame(snapshot_orders=part)
        if not self._left:
            self._in_snapshot = False
            yield ServerFrame(snapshot_end=stream.SnapshotEnd(at=self._start))

    def _due(self) -> list[ServerFrame]:
        frames = []
        while redelivery := self._redelivery():
            frames.append(ServerFrame(redelivery=redelivery))
        while batches := self._batches():
            frames.append(ServerFrame(events=Events(batches=batches)))
        frames += [ServerFrame(ack_result=result) for result in self._results]
        self._results.clear()
        frames.append(ServerFrame(progress=stream.Progress(at=self._read_of(self.next_seq), as_of=now())))
        lag = self.lag
        frames.append(ServerFrame(lag=lag))
        if self._spec.HasField("digest_interval") and not lag.events:
            frames.append(ServerFrame(digest=self._digest()))
        return frames

    def _digest(self) -> stream.Digest:
        """What the reader should hold now; a double does not wait for the interval."""
        held = self._fake.orders(stream.Open(shards=self._spec.shards, filter=self._spec.filter))
        count, total = digest_of(held.orders)
        return stream.Digest(at=self._read_of(self.next_seq), count=count, hash=total)

    def _redelivery(self) -> Redelivery | None:
        """What comes again, as far as credit goes."""
        if min(self._credit) <= 0:
            return None
        redelivery = self._settling.redelivery(time.monotonic(), self._allowed(_FRAME_EVENTS_MAX))
        if redelivery is not None:
            self._spend(len(redelivery.deliveries), redelivery.ByteSize())
        return redelivery

    @property
    def lag(self) -> stream.Lag:
        """How far behind the stream is, and why."""
        shards = self._shards
        behind = sum(self._fake.head.next_seq[shard] - self.next_seq[shard] for shard in shards)
        starved = self._credited and min(self._credit) <= 0
        bound = stream.LAG_BOUND_CREDIT if starved else stream.LAG_BOUND_DELIVERY
        floor, unacked = self._fake.floor(self._spec), self._settling.unfinished
        if floor is not None and not self._spec.unacked_events_max:
            unacked = sum(max(0, self.next_seq[shard] - floor.next_seq[shard]) for shard in shards)
        return stream.Lag(
            events=behind,
            bound_by=bound if behind else stream.LAG_BOUND_NONE,
            parked=len(self._fake.book(self._spec).parked),
            unacked=unacked,
        )

    @property
    def _shards(self) -> Sequence[int]:
        return self._spec.shards or range(len(self.next_seq))

    def _read_of(self, next_seq: Iterable[int]) -> Position:
        """A place of the log, as a stream of these shards and this filter says it."""
        read = [seq if shard in self._shards else 0 for shard, seq in enumerate(next_seq)]
        return Position(log_epoch=self._start.log_epoch, next_seq=read, filter_hash=self._start.filter_hash)

    def _batches(self) -> list[EventBatch]:
        """A frame's batches, as far as credit goes."""
        batches = []
        events_max = self._spec.batch_events_max or _FRAME_EVENTS_MAX
        for shard in self._shards:
            if self._settling.full or (self._credited and min(self._credit) <= 0):
                break
            batch = self._fake.batch(shard, self.next_seq[shard], self._spec, self._allowed(events_max))
            if batch is not None:
                self.next_seq[shard] = batch.last_seq + 1
                batch = self._passing(batch)
                self._spend(len(batch.events), batch.ByteSize())
                self._fake.sent_events += len(batch.events)
                batches.append(batch)
        return batches

    def _passing(self, batch: EventBatch) -> EventBatch:
        if self._settling.keeps_nothing:
            return batch
        sent = [event for event in batch.events if self._settling.passes(event)]
        return EventBatch(shard=batch.shard, first_seq=batch.first_seq, last_seq=batch.last_seq, events=sent)

    def _spend(self, events: int, size_bytes: int) -> None:
        self._credit = [self._credit[0] - events, self._credit[1] - size_bytes]

    def _allowed(self, events_max: int) -> int:
        return min(events_max, self._credit[0]) if self._credited else events_max


def now() -> Timestamp:
    """The time, to the second."""
    return Timestamp(seconds=int(time.time()))
