"""The log, read from the Order Service's own streams; see `ports.EventSource`."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from stateset.order.v1 import (
    log_service_pb2,
    log_service_pb2_grpc,
    order_frame_pb2,
    order_pb2,
    order_service_pb2,
    order_service_pb2_grpc,
)
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import (
    LogEpochChangedError,
    Position,
    PositionAheadError,
    PositionError,
    PositionExpiredError,
    PositionMalformedError,
)
from infra.runtime.grpc.wire import position_from_wire, position_to_wire, timestamp_from_wire, timestamp_to_wire
from infra.runtime.log import get_logger
from sync.adapters.wire import batch_from_wire, order_from_wire
from sync.application.ports import SourceUnavailableError
from sync.domain.log import Batch, LogHead, OrderRow

_HEAD_SECONDS: Final = 2.0
_HEARTBEAT_SECONDS: Final = 5
_SILENCE_SECONDS: Final = 3.0 * _HEARTBEAT_SECONDS  # then the peer is dead or stuck, and the stream is opened anew
_CREDIT_EVENTS: Final = 5_000
_CREDIT_BYTES: Final = 8 * 1024 * 1024
_PAGE_ORDERS: Final = 500
_PAGE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 2.0
_HOLD_SECONDS: Final = 5.0  # between two sayings; the log is kept for longer than that anyway
_log = get_logger(__name__)

_REFUSALS: Final[dict[str, Callable[[Position, dict[str, str], str], PositionError]]] = {
    "LOG_EPOCH_CHANGED": lambda start, facts, _: LogEpochChangedError(start.log_epoch, facts.get("log_epoch", "?")),
    "POSITION_AHEAD": lambda start, facts, _: PositionAheadError(
        int(facts["shard"]), start.next_seq[int(facts["shard"])], int(facts["next_seq"])
    ),
    "POSITION_EXPIRED": lambda start, facts, _: PositionExpiredError(
        int(facts["shard"]), start.next_seq[int(facts["shard"])], int(facts["earliest"])
    ),
    "POSITION_MALFORMED": lambda _, __, message: PositionMalformedError(message),
}


class OrderSource:
    """Reads over a channel that its owner opened and closes; its durable floor in the log has the name.

    Servers that stand on one database share the name, too.
    """

    def __init__(self, channel: grpc.aio.Channel, *, name: str) -> None:
        self._name = name
        self._log = log_service_pb2_grpc.LogServiceStub(channel)
        self._orders = order_service_pb2_grpc.OrderServiceStub(channel)
        self._held: Position | None = None
        self._hold_due = 0.0

    async def head(self) -> LogHead:
        """See `EventSource.head`."""
        try:
            reply = await self._log.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=_HEAD_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise SourceUnavailableError(f"GetLogHead: {error.code().name}: {error.details()}") from error
        return LogHead(
            log_epoch=reply.log_epoch,
            next_seq=tuple(head.next_seq for head in reply.shards),
            earliest_seq=tuple(head.earliest_seq for head in reply.shards),
            read_time_us=timestamp_from_wire(reply.read_time),
        )

    async def position_at(self, time_us: int) -> Position:
        """See `EventSource.position_at`."""
        request = log_service_pb2.ResolveTimeRequest(time=timestamp_to_wire(time_us))
        try:
            reply = await self._log.ResolveTime(request, timeout=_HEAD_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise SourceUnavailableError(f"ResolveTime: {error.code().name}: {error.details()}") from error
        return position_from_wire(reply.position)

    async def record_times(self, position: Position, shards: Collection[int]) -> Mapping[int, int]:
        """See `EventSource.record_times`. An event of each shard, or a group, is the first that a stream brings."""
        found: dict[int, int] = {}
        opening = _open(position, sorted(shards))
        opening.batch_events_max = max(1, len(shards))
        try:
            async with asyncio.timeout(_HEAD_SECONDS), aclosing(self._stream(opening)) as arrivals:
                while len(found) < len(shards):
                    for batch in await anext(arrivals):
                        found.setdefault(batch.shard, batch.events[0].record_time_us)
        except grpc.aio.AioRpcError as error:
            _raise_refused(error, position)
            raise SourceUnavailableError(f"StreamOrderEvents: {error.code().name}: {error.details()}") from error
        except (TimeoutError, StopAsyncIteration) as error:
            raise SourceUnavailableError("StreamOrderEvents: it brought too little in time") from error
        return found

    async def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        """See `EventSource.follow`."""
        async for batches in _reconnecting(self._subscribe, start):
            yield batches

    async def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        """See `EventSource.read`."""

        def open_at(position: Position) -> AsyncGenerator[Sequence[Batch], None]:
            return self._stream(_open(position, shards))

        async for batches in _reconnecting(open_at, start):
            for batch in batches:
                yield batch

    async def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        """See `EventSource.orders`."""
        asked = order_service_pb2.ListOrdersRequest(page_size=_PAGE_ORDERS, view=order_pb2.ORDER_VIEW_FULL)
        while True:
            try:
                page = await self._orders.ListOrders(asked, timeout=_PAGE_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise SourceUnavailableError(f"ListOrders: {error.code().name}: {error.details()}") from error
            yield [order_from_wire(order) for order in page.orders]
            asked.page_token = page.next_page_token
            if not asked.page_token:
                return

    async def confirm(self, position: Position) -> None:
        """See `EventSource.confirm`.

        It is said now and then, on a short stream of its own, whatever carries the log here: so no server that shares
        the name fences another, and the floor of one that is gone is moved by the next.
        """
        now = asyncio.get_running_loop().time()
        if now < self._hold_due or position == self._held:
            return
        self._hold_due = now + _HOLD_SECONDS
        opening = _open(position, ())  # without credit: it brings nothing
        opening.subscription = self._name
        ack = stream_pb2.Ack(ack_id="floor", through=position_to_wire(position))
        says = (
            stream_pb2.ClientFrame(open=opening),
            stream_pb2.ClientFrame(ack=ack),
            stream_pb2.ClientFrame(close=stream_pb2.Close()),
        )
        requests = [order_service_pb2.SubscribeOrderEventsRequest(frame=frame) for frame in says]
        try:
            async for _ in self._orders.SubscribeOrderEvents(iter(requests), timeout=_HEAD_SECONDS):
                continue
        except grpc.aio.AioRpcError as error:
            _log.warning("the log cannot be held", code=error.code().name, details=error.details())
        else:
            self._held = position

    async def _subscribe(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        opening = _open(start, ())
        opening.credit.CopyFrom(stream_pb2.Credit(events=_CREDIT_EVENTS, bytes=_CREDIT_BYTES))
        call = self._orders.SubscribeOrderEvents()
        try:
            await _say(call, stream_pb2.ClientFrame(open=opening))
            async for frame in _frames(call):
                batches = [batch_from_wire(batch) for batch in frame.events.batches]
                if batches:
                    yield batches
                    await _say(call, _grant_back(batches))
        finally:
            call.cancel()

    async def _stream(self, opening: stream_pb2.Open) -> AsyncGenerator[Sequence[Batch], None]:
        call = self._orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest(open=opening))
        try:
            async for frame in _frames(call):
                batches = [batch_from_wire(batch) for batch in frame.events.batches]
                if batches:
                    yield batches
        finally:
            call.cancel()


async def _reconnecting(
    open_at: Callable[[Position], AsyncGenerator[Sequence[Batch], None]], start: Position
) -> AsyncGenerator[Sequence[Batch], None]:
    """One stream after the other, each from where the one before it ended."""
    position = start
    pause = _PAUSE_SECONDS
    while True:
        batches = open_at(position)
        try:
            async for arrived in batches:
                yield arrived
                position = position.moved({batch.shard: batch.last_seq + 1 for batch in arrived})
                pause = _PAUSE_SECONDS
        except grpc.aio.AioRpcError as error:
            _raise_refused(error, position)
            _log.warning("the order stream ended", code=error.code().name, details=error.details())
        except TimeoutError:
            _log.warning("the order stream fell silent", silence_seconds=_SILENCE_SECONDS)
        finally:
            await batches.aclose()
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, so that all do not come at once
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


async def _frames(call: Any) -> AsyncIterator[order_frame_pb2.ServerFrame]:  # noqa: ANN401 - gRPC's generic call
    """The frames of either stream until its end; an end without an error, or GoAway, means to come again."""
    while True:
        async with asyncio.timeout(_SILENCE_SECONDS):
            response = await call.read()
        if response is grpc.aio.EOF or response.frame.WhichOneof("frame") == "go_away":
            return
        yield response.frame


async def _say(call: Any, frame: stream_pb2.ClientFrame) -> None:  # noqa: ANN401 - gRPC's generic call
    """Sends a frame. After the stream's end nobody misses it, and whoever reads on meets that end."""
    with suppress(asyncio.InvalidStateError):
        async with asyncio.timeout(_SILENCE_SECONDS):
            await call.write(order_service_pb2.SubscribeOrderEventsRequest(frame=frame))


def _open(start: Position, shards: Sequence[int]) -> stream_pb2.Open:
    # Filters are ours: the log is read as a whole, so the position must not speak of one.
    return stream_pb2.Open(
        start=stream_pb2.Start(position=position_to_wire(start._replace(filter_hash=b""))),
        shards=shards,
        heartbeat_interval=Duration(seconds=_HEARTBEAT_SECONDS),
    )


def _grant_back(batches: Sequence[Batch]) -> stream_pb2.ClientFrame:
    events = [event for batch in batches for event in batch.events]
    credit = stream_pb2.Credit(
        events=len(events), bytes=sum(event.size for event in events), mode=stream_pb2.CREDIT_MODE_ADD
    )
    return stream_pb2.ClientFrame(credit=credit)


def _raise_refused(error: grpc.aio.AioRpcError, position: Position) -> None:
    """Raises what the Order Service has against the position, if it was that: no trying again can help."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what is read from a call
    for detail in status.details if status is not None else ():
        info = ErrorInfo()
        if detail.Unpack(info) and info.reason in _REFUSALS:
            raise _REFUSALS[info.reason](position, dict(info.metadata), error.details() or "") from error
