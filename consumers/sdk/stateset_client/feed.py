"""The heart of every reader: one stream, opened again where it stood whenever it breaks."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import grpc
import grpc.aio
from stateset.order.v1.order_frame_pb2 import Events, Redelivery, SnapshotOrders
from stateset.stream.v1 import stream_pb2 as stream

from stateset_client.acks import PendingAcks
from stateset_client.batch import Batch, Opening, Progress, StreamLimits
from stateset_client.credit import CreditWindow
from stateset_client.cursor import Cursor
from stateset_client.endpoint import Link
from stateset_client.errors import StateSetError, UnavailableError, error_of
from stateset_client.inbox import Inbox
from stateset_client.outage import Outage
from stateset_client.retry import Backoff, may_retry
from stateset_client.snapshot import SnapshotReader

SILENCES_MAX: Final = 3  # heartbeats in a row that may be missing before the peer counts as dead
_STATUS_LOST: Final = "Internal error from Core"  # the library's text; no server's
_OPENED_SECONDS: Final = 10.0  # a server that is reading its log in may be slow to say Opened, not slower than this


class Feed:
    """Fills an inbox from one stream, until it is cancelled or the stream ends in a way that trying again cannot heal.

    Args:
        connect: Opens the stream for the given Open.
        spec: What to read; after the first opening its start is replaced by the place that was reached.
        limits: See `StreamLimits`.
        address: Of who is read from, as people know it.
        two_way: Whether the stream takes frames: credit, acks and heartbeats.
        from_stored: Whether the stream goes on after a break at what the server has stored, and not where it stood.
    """

    def __init__(
        self,
        connect: Callable[[stream.Open], Link],
        spec: stream.Open,
        limits: StreamLimits,
        *,
        address: str,
        two_way: bool,
        from_stored: bool = False,
    ) -> None:
        self.inbox = Inbox()
        self.window = CreditWindow(limits.credit_events, limits.credit_bytes)
        self.acks = PendingAcks(self.send)
        self.lag: stream.Lag | None = None
        self.opening: asyncio.Future[Opening] = asyncio.get_running_loop().create_future()
        self._connect = connect
        self._spec = spec
        self._limits = limits
        self._two_way = two_way
        self._from_stored = from_stored
        self._cursor: Cursor | None = None
        self._snapshot: SnapshotReader | None = None
        self._in_snapshot = spec.start.HasField("snapshot")
        self._arrivals = 0
        self._delivery_epoch = 0
        self._silence_seconds = _OPENED_SECONDS
        self._told_seconds: float | None = None
        self._backoff = Backoff()
        self._outage = Outage(address)
        self._outgoing: asyncio.Queue[stream.ClientFrame] = asyncio.Queue()
        self._room = asyncio.Event()

    def send(self, frame: stream.ClientFrame) -> None:
        """Queues a frame for the stream that is open. What no stream took is made anew at the next opening."""
        self._outgoing.put_nowait(frame)

    def consume(self, events: int, size_bytes: int) -> None:
        """The subscriber is done with these: their room is granted again."""
        self.window.consume(events, size_bytes)
        self._room.set()
        credit = self.window.grant() if self._two_way else None
        if credit is not None:
            self.send(stream.ClientFrame(credit=credit))

    async def run(self) -> None:
        """Reads, and reads on after every break that the contract calls a break and not an answer.

        Whatever it ends by, everybody who waits for something of the stream is told.
        """
        try:
            await self._read_on()
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: who reads is told
            failure = StateSetError(f"the reader has failed: {error!r}", code=grpc.StatusCode.INTERNAL)
            failure.__cause__ = error
            self._fail(failure)

    def close(self) -> None:
        """Nothing is read any more, and what has come is not handed out."""
        self.inbox.clear()
        self._fail(StateSetError("the stream is closed", code=grpc.StatusCode.CANCELLED))

    async def _read_on(self) -> None:
        while True:
            error = await self._session()
            if error is not None and not _heals(error):
                self._fail(error)
                return
            if error is not None:
                self._outage.failed(error, time.monotonic())
            told_seconds = self._told_seconds if error is None else error.retry_after_seconds
            self._told_seconds = None
            await asyncio.sleep(self._backoff.next_seconds(told_seconds))

    def _fail(self, error: StateSetError) -> None:
        self.inbox.fail(error)
        self.acks.fail(error)
        if not self.opening.done():
            self.opening.set_exception(error)
            self.opening.exception()  # asked for here: whoever iterates hears of it by the inbox

    async def _session(self) -> StateSetError | None:
        """One stream from Open to its end. Returns what ended it; none for OK."""
        spec = self._open()
        self._outgoing = asyncio.Queue()
        link = self._connect(spec)
        try:
            if not self._two_way:
                return await self._read_frames(link)
            async with asyncio.TaskGroup() as tasks:
                self.send(stream.ClientFrame(open=spec))
                self.acks.send_again()
                writer = tasks.create_task(self._write_frames(link), name="subscription-write")
                end = await self._read_frames(link)
                writer.cancel()
            return end
        finally:
            await link.close()

    def _open(self) -> stream.Open:
        spec = stream.Open()
        spec.CopyFrom(self._spec)
        if self._in_snapshot:
            spec.start.CopyFrom(self._spec.start if self._snapshot is None else self._snapshot.start)
        elif self._cursor is not None and self._from_stored:
            spec.start.point = stream.START_POINT_STORED  # what is finished lies with the server, event by event
        elif self._cursor is not None:
            spec.start.position.CopyFrom(self._cursor.position)
        if self._two_way:
            spec.credit.CopyFrom(self.window.opening())
            spec.checkpoint_epoch = max(spec.checkpoint_epoch, self._delivery_epoch)
        self._silence_seconds = max(_OPENED_SECONDS, SILENCES_MAX * self._limits.heartbeat_seconds)
        return spec

    async def _write_frames(self, link: Link) -> None:
        heartbeat_seq = 0
        while True:
            try:
                async with asyncio.timeout(self._limits.heartbeat_seconds):
                    frame = await self._outgoing.get()
            except TimeoutError:
                heartbeat_seq += 1
                frame = stream.ClientFrame(heartbeat=stream.Heartbeat(heartbeat_seq=heartbeat_seq))
            try:
                await link.write(frame)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the stream has ended, and its reader is told why

    async def _read_frames(self, link: Link) -> StateSetError | None:
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    arrival = await link.read()
                if arrival is None:
                    return None
                size_bytes, frame = arrival
                kind = frame.WhichOneof("frame")
                if kind is not None:  # else a frame of tomorrow's, which is not for us
                    _RECEIVERS[kind](self, getattr(frame, kind), size_bytes)
                await self._make_room()
        except TimeoutError:
            return UnavailableError(f"nothing came for {self._silence_seconds:g} s", code=grpc.StatusCode.UNAVAILABLE)
        except grpc.aio.AioRpcError as error:
            return error_of(error)
        except StateSetError as error:
            return error

    async def _make_room(self) -> None:
        """Stops reading while a stream without credit has filled the window: HTTP/2 then stops its sender."""
        while not self._two_way and self.window.is_full:
            self._room.clear()
            await self._room.wait()

    def _on_opened(self, opened: stream.Opened, _size_bytes: int) -> None:
        self._outage.end()
        self._delivery_epoch = opened.delivery_epoch
        if opened.HasField("heartbeat_interval"):
            self._silence_seconds = SILENCES_MAX * opened.heartbeat_interval.ToMicroseconds() / 1e6
        if self._cursor is not None:
            self._cursor.check_log(opened.position)
        anew = self._from_stored or (self._in_snapshot and self._snapshot is None)
        if self._cursor is not None and not anew:
            self._cursor.check_reopened(opened.position)
            return
        shards = tuple(opened.shards) or tuple(range(len(opened.position.next_seq)))
        self._cursor = Cursor(opened.position, shards, filtered=bool(self._spec.filter))
        if not self.opening.done():
            self.opening.set_result(
                Opening(position=opened.position, delivery_epoch=opened.delivery_epoch, shards=shards)
            )

    def _on_events(self, events: Events, size_bytes: int) -> None:
        self._backoff.reset()
        cursor = self._opened_cursor()
        for encoded in events.batches:
            batch = cursor.advance(encoded, self._delivery_epoch)
            self.window.receive(len(batch.events), size_bytes)
            self._put(self._news(batch), size_bytes)
            size_bytes = 0  # the whole frame's, told with its first batch

    def _put(self, batch: Batch, size_bytes: int) -> None:
        if self._spec.unacked_events_max:
            self._arrivals += 1
            batch = replace(batch, arrival=self._arrivals)
        self.inbox.put(batch, size_bytes)

    def _news(self, batch: Batch) -> Batch:
        """The batch without the events that a snapshot before it included."""
        if self._snapshot is None:
            return batch
        news = self._snapshot.news(batch.events)
        if self._snapshot.is_passed(batch.position):
            self._snapshot = None
        self.consume(len(batch.events) - len(news), 0)
        return replace(batch, events=news)

    def _on_snapshot_begin(self, begin: stream.SnapshotBegin, _size_bytes: int) -> None:
        if self._snapshot is None:  # else it is gone on with
            self._snapshot = SnapshotReader(begin)

    def _on_snapshot_orders(self, orders: SnapshotOrders, size_bytes: int) -> None:
        self._backoff.reset()
        part = self._begun_snapshot().take(orders, self._delivery_epoch)
        self.window.receive(len(part.orders), size_bytes)
        self.inbox.put_part(part, size_bytes)

    def _on_snapshot_end(self, _end: stream.SnapshotEnd, _size_bytes: int) -> None:
        self.inbox.put_part(self._begun_snapshot().end(self._delivery_epoch), 0)
        self._in_snapshot = False

    def _begun_snapshot(self) -> SnapshotReader:
        if self._snapshot is None:
            raise StateSetError("the server sent orders before SnapshotBegin", code=grpc.StatusCode.INTERNAL)
        return self._snapshot

    def _on_redelivery(self, redelivery: Redelivery, size_bytes: int) -> None:
        self._backoff.reset()
        events = [each.event for each in redelivery.deliveries]
        batch = Batch(
            shard=redelivery.shard,
            first_seq=events[0].seq,
            last_seq=events[-1].seq,
            events=events,
            position=self._opened_cursor().position,
            delivery_epoch=self._delivery_epoch,
            attempts=[each.attempt for each in redelivery.deliveries],
        )
        self.window.receive(len(events), size_bytes)
        self._put(batch, size_bytes)

    def _on_progress(self, progress: stream.Progress, _size_bytes: int) -> None:
        self._backoff.reset()
        for batch in self._opened_cursor().cover(progress.at, self._delivery_epoch):
            self.inbox.put_covered(batch)
        self.inbox.note(Progress(at=progress.at, as_of=progress.as_of))

    def _on_ack_result(self, result: stream.AckResult, _size_bytes: int) -> None:
        self.acks.resolve(result, self._arrivals)

    def _on_go_away(self, go_away: stream.GoAway, _size_bytes: int) -> None:
        self._told_seconds = go_away.retry_after.ToMicroseconds() / 1e6

    def _on_closed(self, _closed: stream.Closed, _size_bytes: int) -> None:
        """The call's own status says the same."""

    def _on_lag(self, lag: stream.Lag, _size_bytes: int) -> None:
        self.lag = lag

    def _on_digest(self, digest: stream.Digest, _size_bytes: int) -> None:
        self.inbox.note_digest(digest)

    def _on_sign_of_life(self, _frame: object, _size_bytes: int) -> None:
        self._backoff.reset()

    def _opened_cursor(self) -> Cursor:
        if self._cursor is None:
            raise StateSetError("the server sent something before Opened", code=grpc.StatusCode.INTERNAL)
        return self._cursor


_RECEIVERS: Final[Mapping[str, Callable[[Feed, Any, int], None]]] = {
    "opened": Feed._on_opened,  # noqa: SLF001 - the class's own table
    "events": Feed._on_events,  # noqa: SLF001 - as above
    "redelivery": Feed._on_redelivery,  # noqa: SLF001 - as above
    "progress": Feed._on_progress,  # noqa: SLF001 - as above
    "ack_result": Feed._on_ack_result,  # noqa: SLF001 - as above
    "heartbeat": Feed._on_sign_of_life,  # noqa: SLF001 - as above
    "go_away": Feed._on_go_away,  # noqa: SLF001 - as above
    "phase_change": Feed._on_sign_of_life,  # noqa: SLF001 - as above
    "closed": Feed._on_closed,  # noqa: SLF001 - as above
    "lag": Feed._on_lag,  # noqa: SLF001 - as above
    "digest": Feed._on_digest,  # noqa: SLF001 - as above
    "snapshot_begin": Feed._on_snapshot_begin,  # noqa: SLF001 - as above
    "snapshot_orders": Feed._on_snapshot_orders,  # noqa: SLF001 - as above
    "snapshot_end": Feed._on_snapshot_end,  # noqa: SLF001 - as above
}


def _heals(error: StateSetError) -> bool:
    return may_retry(error) or _is_lost(error)


def _is_lost(error: StateSetError) -> bool:
    """A write that meets the end of its stream makes gRPC forget what ended it: the next stream will say."""
    return error.code is grpc.StatusCode.INTERNAL and error.message == _STATUS_LOST
