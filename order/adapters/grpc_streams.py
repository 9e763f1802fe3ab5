"""The log's streams over gRPC: one for readers that keep their own position, one with credit and acks."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from prometheus_client import Histogram
from stateset.order.v1 import order_service_pb2
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position, check_log
from infra.runtime.clock import Clock
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.opening import first_of
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import position_from_wire
from infra.runtime.lifespan import background
from order.adapters import frames
from order.application.feed import Cursor, Feed, Opening
from order.application.heads import Heads
from order.application.ports import Log

HOP_SECONDS: Final = Histogram(
    "stateset_order_stream_hop_seconds",
    "From an event's record time until it is handed to a stream.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 10, 60),
)
_RETRY_AFTER_SECONDS: Final = 0.2  # after a drain: a supervised restart takes about a second, and clients try again
_ACK_ID_CHARACTERS_MAX: Final = 128
_ACKS_MAX: Final = 1000  # acks that wait for their results; a caller that sends more without reading is refused


class EventStreams:
    """The two streaming RPCs of `OrderService`."""

    def __init__(self, log: Log, heads: Heads, clock: Clock, draining: Draining) -> None:
        self._log = log
        self._heads = heads
        self._feed = Feed(log, heads, clock)
        self._clock = clock
        self._draining = draining

    async def StreamOrderEvents(
        self, request: order_service_pb2.StreamOrderEventsRequest, _call: Call
    ) -> AsyncIterator[bytes]:
        """Events from a position on, then as they are committed."""
        asked = frames.open_from_wire(request.open, self._feed.shards, acknowledged=False)
        opening = await self._feed.open(asked.start, asked.shards, "")
        stream = self._stream(asked, opening)
        async with aclosing(stream.frames()) as sent:
            async for frame in sent:
                yield frame

    async def SubscribeOrderEvents(
        self, requests: AsyncIterator[order_service_pb2.SubscribeOrderEventsRequest], _call: Call
    ) -> AsyncIterator[bytes]:
        """The same under the caller's credit; its acks become durable floors."""
        first = await first_of(aiter(requests), self._draining)
        asked = frames.open_from_wire(first.frame.open, self._feed.shards, acknowledged=True)
        opening = await self._feed.open(asked.start, asked.shards, asked.subscription)
        stream = self._stream(asked, opening)
        # No task group: it would cancel this call while gRPC writes a frame, and nobody would say how the call ended.
        reading = asyncio.create_task(stream.read_requests(requests), name="read-requests")
        try:
            async with aclosing(stream.frames()) as sent:
                async for frame in sent:
                    yield frame
        finally:
            reading.cancel()
            await asyncio.wait([reading])  # an ack of it may be on its way to the database

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the context lasts, idle streams notice at once that the server drains."""

        async def wake_idle_streams() -> None:
            await self._draining.wait()
            self._heads.wake()

        async with background(wake_idle_streams(), name="wake-idle-streams"):
            yield

    def _stream(self, asked: frames.Asked, opening: Opening) -> "_Stream":
        cursor = Cursor(self._log, self._heads, opening)
        return _Stream(cursor, self._feed, self._heads, self._clock, self._draining, asked=asked, opening=opening)


class _Stream:
    """One open stream: what it has to say, in one order."""

    def __init__(
        self,
        cursor: Cursor,
        feed: Feed,
        heads: Heads,
        clock: Clock,
        draining: Draining,
        *,
        asked: frames.Asked,
        opening: Opening,
    ) -> None:
        self._cursor = cursor
        self._feed = feed
        self._heads = heads
        self._clock = clock
        self._draining = draining
        self._asked = asked
        self._opening = opening
        self._credit = asked.credit
        self._floor = Position(log_epoch=opening.start.log_epoch, next_seq=(0,) * feed.shards).moved(opening.floors)
        self._results: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None
        self._heartbeats = 0

    async def frames(self) -> AsyncGenerator[bytes]:
        """Opened first; then events, progress, ack results and heartbeats until the stream ends, and Closed.

        Raises:
            Exception: Whatever ends the stream, once Closed has told of it.
        """
        yield frames.opened_frame(self._opening, self._asked)
        try:
            async with aclosing(self._until_closed()) as said:
                async for frame in said:
                    yield frame
        except Exception as error:  # noqa: BLE001 - every end is told
            self._error = self._error or error
        yield frames.closed_frame(self._error, self._cursor.position)
        if self._error is not None:
            raise self._error

    async def _until_closed(self) -> AsyncGenerator[bytes]:
        loop = asyncio.get_running_loop()
        yield frames.phase_frame(stream_pb2.PHASE_CATCHING_UP)
        live = False
        due = loop.time() + self._asked.heartbeat_seconds
        with self._heads.watching() as self._news:
            while not self._closed and not self._draining.is_set():
                self._news.clear()
                while self._results:
                    yield self._results.popleft()
                if runs := await self._cursor.read(self._asked.batch_events_max, self._credit):
                    HOP_SECONDS.observe(max(0, self._clock.now_us() - runs[0][0].record_time_us) / 1e6)
                    yield frames.events_frame(runs)
                elif not live and self._cursor.at_head:
                    live = True
                    yield frames.phase_frame(stream_pb2.PHASE_LIVE)
                    yield self._progress()
                if loop.time() >= due:
                    due = loop.time() + self._asked.heartbeat_seconds
                    yield self._progress()
                    yield self._heartbeat()
                if not runs:
                    await self._wait_until(due)
        while self._results:
            yield self._results.popleft()
        if self._draining.is_set():
            yield frames.go_away_frame(self._cursor.position, _RETRY_AFTER_SECONDS)

    async def read_requests(self, requests: AsyncIterator[order_service_pb2.SubscribeOrderEventsRequest]) -> None:
        """Takes in what the caller sends. A Close ends the stream, and so does what is wrong; their end does not."""
        try:
            await self._take_in(requests)
        except Exception as error:  # noqa: BLE001 - the stream tells of it
            self._error = error
            self._closed = True
        self._news.set()

    async def _take_in(self, requests: AsyncIterator[order_service_pb2.SubscribeOrderEventsRequest]) -> None:
        async for request in requests:
            match request.frame.WhichOneof("frame"):
                case "credit":
                    frames.grant(self._credit, request.frame.credit)
                case "ack":
                    await self._ack(request.frame.ack)
                case "heartbeat":
                    continue
                case "close":
                    self._closed = True
                    return
                case "open":
                    raise InvalidRequestError([Violation("frame.open", "the stream is open already")])
                case _:
                    raise InvalidRequestError([Violation("frame", "must be one of the frames of the contract")])
            self._news.set()

    async def _ack(self, ack: stream_pb2.Ack) -> None:
        if ack.items:
            raise InvalidRequestError(
                [Violation("frame.ack.items", "are not served here: subscribe to the Sync Server")]
            )
        if len(ack.ack_id) > _ACK_ID_CHARACTERS_MAX:
            told = f"must have at most {_ACK_ID_CHARACTERS_MAX} characters"
            raise InvalidRequestError([Violation("frame.ack.ack_id", told)])
        through = position_from_wire(ack.through)
        check_log(through, self._opening.start.log_epoch, self._feed.shards)
        if not self._asked.subscription:
            raise InvalidRequestError([Violation("frame.ack", "needs a subscription: name one in open")])
        if not self._cursor.position.covers(through):
            raise InvalidRequestError([Violation("frame.ack.through", "is beyond what was sent")])
        if len(self._results) >= _ACKS_MAX:
            raise InvalidRequestError([Violation("frame.ack", f"more than {_ACKS_MAX} acks wait: read their results")])
        before = self._floor
        if await self._feed.move_floors(self._asked.subscription, self._opening, through):
            said = {shard: through.next_seq[shard] for shard in self._opening.shards}
            self._floor = before.merged(before.moved(said))  # nobody else moves it but a newer stream
            status = stream_pb2.ACK_STATUS_ALREADY if self._floor == before else stream_pb2.ACK_STATUS_COMMITTED
        else:
            status = stream_pb2.ACK_STATUS_FENCED
        self._results.append(frames.ack_result_frame(ack.ack_id, status, self._floor))

    def _progress(self) -> bytes:
        as_of_us = self._heads.as_of_us if self._cursor.at_head else None
        return frames.progress_frame(self._cursor.position, as_of_us)

    def _heartbeat(self) -> bytes:
        self._heartbeats += 1
        return frames.heartbeat_frame(self._heartbeats)

    async def _wait_until(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._news.wait()
        except TimeoutError:
            return
