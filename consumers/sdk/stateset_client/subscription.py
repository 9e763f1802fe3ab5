"""Readers of the event stream: one whose acks the server keeps, and one that keeps its own place."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from google.protobuf.duration_pb2 import Duration
from stateset.common.v1.position_pb2 import Position
from stateset.stream.v1.stream_pb2 import (
    START_POINT_EARLIEST,
    START_POINT_LATEST,
    START_POINT_STORED,
    Digest,
    Lag,
    Open,
    SnapshotStart,
    Start,
)

from stateset_client.batch import AckResult, Batch, Opening, Progress, Settled, StreamLimits
from stateset_client.channel import open_stream_channel
from stateset_client.endpoint import SYNC, Link, Source
from stateset_client.feed import SILENCES_MAX, Feed
from stateset_client.inbox import Arrivals
from stateset_client.snapshot import SnapshotPart

EARLIEST: Final = Start(point=START_POINT_EARLIEST)
LATEST: Final = Start(point=START_POINT_LATEST)
STORED: Final = Start(point=START_POINT_STORED)
SNAPSHOT: Final = Start(snapshot=SnapshotStart())


class EventStream:
    """Events from a position on, then as they are recorded; the reader keeps its own position.

        async with EventStream("sync:50052", start=position) as stream:
            async for batch in stream:
                ...
                position = batch.position

    It reads on by itself after a lost connection, a server that leaves and a stream that ends, right where it stood: no
    event is missing and none comes twice. A server that cannot be reached is waited for, with a warning a minute to the
    logger `stateset_client`. What trying again cannot heal is raised from the iteration: a `PositionError`, a
    `GapError`, any refusal.

    Args:
        address: `host:port` of the Sync Server, or of what `source` says.
        start: `EARLIEST`, `LATEST`, a position, `SNAPSHOT` or a `SnapshotPart.start`. A stream that starts with a
            snapshot brings that first, by `snapshot`, and then no event that it includes.
        shards: The shards to read; all when empty.
        filter: AIP-160, see the contract's `Open.filter`.
        limits: See `StreamLimits`; here the credit bounds what waits in this process.
        source: Which service to read from: `SYNC` or `ORDER_LOG`.
        digest_seconds: How often the Sync Server sends a digest of what the reader should hold, for a `Verifier`.

    Attributes:
        progress: The latest progress, once what it speaks of was taken.
        digest: The latest digest, once what it speaks of was taken.
    """

    _two_way = False
    _from_stored = False

    def __init__(
        self,
        address: str,
        *,
        start: Start | Position = EARLIEST,
        shards: Sequence[int] = (),
        filter: str = "",  # noqa: A002 - the contract's word
        limits: StreamLimits | None = None,
        source: Source = SYNC,
        digest_seconds: float | None = None,
    ) -> None:
        if not address:
            raise ValueError("address must be host:port")
        self.progress: Progress | None = None
        self.digest: Digest | None = None
        self._address = address
        self._limits = limits or StreamLimits()
        self._source = source
        self._spec = Open(
            start=Start(position=start) if isinstance(start, Position) else start,
            shards=shards,
            filter=filter,
            heartbeat_interval=_duration(self._limits.heartbeat_seconds),
            batch_events_max=self._limits.batch_events_max,
            digest_interval=None if digest_seconds is None else _duration(digest_seconds),
        )
        self._taken = (0, 0)
        self._has_snapshot = False
        self._feed: Feed | None = None
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._feed = Feed(
            self._connect,
            self._spec,
            self._limits,
            address=self._address,
            two_way=self._two_way,
            from_stored=self._from_stored,
        )
        self._taken = (0, 0)
        self._has_snapshot = self._spec.start.HasField("snapshot")
        # Its errors travel by the inbox, never as the task's own: a TaskGroup here would cancel the user's body.
        task = asyncio.create_task(self._feed.run(), name=f"read-{self._address}")
        self._closing.push_async_callback(_cancel, task)
        self._closing.callback(self._feed.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._closing.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while not (arrivals := await self._take(events_max=1, batches_max=1)).batches:
            pass
        return arrivals.batches[0]

    @property
    def lag(self) -> Lag | None:
        """How far behind the server saw this reader, last; what waits here is not in it."""
        return None if self._feed is None else self._feed.lag

    async def opened(self) -> Opening:
        """How the stream was first opened, once it was.

        Raises:
            StateSetError: It was refused.
        """
        return await asyncio.shield(self._running().opening)

    async def snapshot(self) -> AsyncIterator[SnapshotPart]:
        """The orders, part by part, of a stream that starts with a snapshot; to be read before the events.

        There are none where the stream does not start so, nor once they were read. A subscription acks `part.begin`
        once it has them all: what was recorded before is done then, and does not come where events are settled singly.

        Raises:
            StateSetError: The stream has ended for good, and everything that came before has been taken.
        """
        feed = self._running()
        while self._has_snapshot:
            part, size_bytes = await feed.inbox.take_part()
            self._has_snapshot = not part.is_last
            yield part
            feed.consume(len(part.orders), size_bytes)

    async def take(self, *, events_max: int) -> Arrivals:
        """What has arrived, as soon as there is something; what was taken before is done with now.

        Without batches there is progress, or a digest. A batch is never split: the first one may exceed `events_max`.

        Raises:
            StateSetError: The stream has ended for good, and everything that came before has been taken.
        """
        return await self._take(events_max=events_max, batches_max=events_max)

    async def _take(self, *, events_max: int, batches_max: int) -> Arrivals:
        feed = self._running()
        feed.consume(*self._taken)
        self._taken = (0, 0)
        arrivals = await feed.inbox.take(events_max, batches_max)
        self._taken = (arrivals.events, arrivals.size_bytes)
        self.progress = arrivals.progress or self.progress
        self.digest = arrivals.digest or self.digest
        return arrivals

    def _connect(self, spec: Open) -> Link:
        return self._source.stream(open_stream_channel(self._address), spec)

    def _running(self) -> Feed:
        if self._feed is None:
            raise RuntimeError("use the stream as an async context manager")
        return self._feed


class Subscription(EventStream):
    """Events under credit, with acks that become the durable floor of a named subscription.

        async with Subscription("sync:50052", "mailer") as subscription:
            async for batch in subscription:
                ...
                await subscription.ack(batch.position)

    Args:
        address: `host:port` of the Sync Server, or of what `source` says.
        name: The subscription's; its floor outlives the process.
        start: `STORED` goes on at the durable floor, and at the earliest event the first time. A position that you
            store with your effects is the authority: give that.
        shards: As in `EventStream`, and so are the others.
        filter: AIP-160.
        limits: How much is sent ahead.
        source: Which service to read from.
        digest_seconds: As in `EventStream`.
        checkpoint_epoch: Delivery epoch of the checkpoint that your start comes from; the stream's is above it, even at
            a server that knows nothing of the subscription.
        keeps_place: Where events are settled one by one: you keep your place yourself, so that after a break the stream
            goes on where it stood, and not at what the server has stored.
    """

    _two_way = True

    def __init__(  # noqa: PLR0913 - what a stream may be asked for
        self,
        address: str,
        name: str,
        *,
        start: Start | Position = STORED,
        shards: Sequence[int] = (),
        filter: str = "",  # noqa: A002 - the contract's word
        limits: StreamLimits | None = None,
        source: Source = SYNC,
        digest_seconds: float | None = None,
        checkpoint_epoch: int = 0,
        keeps_place: bool = False,
    ) -> None:
        super().__init__(
            address,
            start=start,
            shards=shards,
            filter=filter,
            limits=limits,
            source=source,
            digest_seconds=digest_seconds,
        )
        self._spec.subscription = name
        self._spec.checkpoint_epoch = checkpoint_epoch
        self._spec.silence_max.CopyFrom(_duration(SILENCES_MAX * self._limits.heartbeat_seconds))
        self._spec.unacked_events_max = self._limits.unacked_events_max
        self._from_stored = self._spec.unacked_events_max > 0 and not keeps_place

    async def ack(self, through: Position, *, timeout_seconds: float = 10.0) -> AckResult:
        """Says that everything below `through` is done, and waits until the server has made that durable.

        Raises:
            TimeoutError: No result came in time; the ack may have been committed all the same.
            StateSetError: The subscription has ended for good.
        """
        return await self._running().acks.ack(through, timeout_seconds)

    async def settle(self, *settled: Settled, timeout_seconds: float = 10.0) -> AckResult:
        """Says what became of single events, and waits until the server has made that durable.

        Raises:
            TimeoutError: No result came in time; it may have been committed all the same.
            StateSetError: The subscription has ended for good.
        """
        return await self._running().acks.settle(settled, timeout_seconds)

    def _connect(self, spec: Open) -> Link:
        del spec  # the first frame carries it
        return self._source.subscribe(open_stream_channel(self._address))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])  # unlike awaiting the task, this hears whether the caller itself is canceled


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
