"""A Sync Server on a free port, and a caller that reads its streams frame by frame."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status
from stateset.common.v1 import position_pb2
from stateset.order.v1 import order_event_pb2, order_frame_pb2, order_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from infra.kernel.position import Position
from sync.adapters.memory import MemoryReadModel, MemorySubscriptions
from sync.application.offset_ports import Offsets
from sync.application.ports import EventSource, Parking, ReadModel, Subscriptions
from sync.main import Ports, open_sync
from sync.settings import SyncSettings

FRAME_SECONDS = 20.0


@asynccontextmanager
async def open_server(
    source: EventSource,
    *,
    read_model: ReadModel | None = None,
    subscriptions: Subscriptions | None = None,
    parking: Parking | None = None,
    offsets: Offsets | None = None,
    **settings: Any,  # noqa: ANN401 - any setting
) -> AsyncIterator["Client"]:
    """Serves the source's log, from its start unless the read model stands elsewhere."""
    read_model = read_model or MemoryReadModel()
    position = await read_model.position()
    if position is None:
        head = await source.head()
        position = Position.earliest(head.log_epoch, len(head.next_seq))
        await read_model.begin(position)
    if subscriptions is None or parking is None:
        memory = subscriptions if isinstance(subscriptions, MemorySubscriptions) else MemorySubscriptions()
        subscriptions, parking = subscriptions or memory, parking or memory.parking
    ports = Ports(source, read_model, subscriptions, parking, offsets)
    chosen = SyncSettings(**{"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0", **settings})
    # The channel outlives the server, so that a drain is seen from outside.
    async with AsyncExitStack() as channels, open_sync(chosen, ports, position) as serving:
        address = f"127.0.0.1:{serving.grpc}"
        channel = await channels.enter_async_context(grpc.aio.insecure_channel(address))
        yield Client(channel, address, serving.http)


class Client:
    """The stub, and streams."""

    def __init__(self, channel: grpc.aio.Channel, address: str = "", http_port: int = 0) -> None:
        self.address = address
        self.http = f"http://127.0.0.1:{http_port}"
        self.stub = sync_service_pb2_grpc.SyncServiceStub(channel)

    async def subscribe(self, opening: stream_pb2.Open | None = None) -> "Stream":
        """Opens a bidirectional stream."""
        call = self.stub.Subscribe()
        stream = Stream(call)
        if opening is not None:
            await stream.say(open=opening)
        return stream

    def stream_events(self, opening: stream_pb2.Open) -> "Stream":
        """Opens a server stream."""
        return Stream(self.stub.StreamEvents(sync_service_pb2.StreamEventsRequest(open=opening)))


class Stream:
    """One stream: what it has said so far, and where its reader stands."""

    def __init__(self, call: Any) -> None:  # noqa: ANN401 - either kind of call
        self.call = call
        self.frames: list[order_frame_pb2.ServerFrame] = []
        self.events: list[order_event_pb2.OrderEvent] = []
        self.orders: list[order_pb2.Order] = []
        self.redelivered: list[order_frame_pb2.RedeliveredEvent] = []
        self.next_seqs: dict[int, int] = {}

    async def say(self, **frame: Any) -> None:  # noqa: ANN401 - any frame, by its name in the contract
        await self.call.write(sync_service_pb2.SubscribeRequest(frame=stream_pb2.ClientFrame(**frame)))

    async def next(self, within_seconds: float = FRAME_SECONDS) -> order_frame_pb2.ServerFrame | None:
        """The next frame; none at the stream's end."""
        async with asyncio.timeout(within_seconds):
            message = await self.call.read()
        if message is grpc.aio.EOF:
            return None
        frame: order_frame_pb2.ServerFrame = message.frame
        self.frames.append(frame)
        if frame.WhichOneof("frame") == "opened":
            self.next_seqs = dict(enumerate(frame.opened.position.next_seq))
        for shard, seq in enumerate(frame.progress.at.next_seq):
            self.next_seqs[shard] = seq
        for batch in frame.events.batches:
            assert self.next_seqs[batch.shard] == batch.first_seq, "a range was passed over in silence"
            self.next_seqs[batch.shard] = batch.last_seq + 1
            self.events += batch.events
        self.orders += frame.snapshot_orders.orders
        self.redelivered += frame.redelivery.deliveries
        return frame

    async def until(self, kind: str, within_seconds: float = FRAME_SECONDS) -> Any:  # noqa: ANN401 - the frame's body
        """Reads on to the next frame of a kind."""
        async with asyncio.timeout(within_seconds):
            while True:
                frame = await self.next(within_seconds)
                assert frame is not None, f"the stream ended before {kind}"
                if frame.WhichOneof("frame") == kind:
                    return getattr(frame, kind)

    async def until_phase(self, phase: stream_pb2.Phase.ValueType, within_seconds: float = FRAME_SECONDS) -> None:
        """Reads on to a phase."""
        while (await self.until("phase_change", within_seconds)).phase != phase:
            pass

    async def until_events(self, number: int, within_seconds: float = FRAME_SECONDS) -> None:
        """Reads on until so many events have come."""
        while len(self.events) < number:
            await self.until("events", within_seconds)

    def seqs(self) -> dict[int, list[int]]:
        """By shard, the seqs that have come, in the sequence of their coming."""
        found: dict[int, list[int]] = {}
        for event in self.events:
            found.setdefault(event.shard, []).append(event.seq)
        return found

    async def refusal(self) -> tuple[grpc.StatusCode, str, list[str]]:
        """How the stream was refused: code, reason, fields."""
        try:
            while await self.next() is not None:
                pass
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        raise AssertionError("the stream was not refused")


def refusal_of(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and fields of a refusal."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what is read from a call
    assert status is not None
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return error.code(), info.reason, [violation.field for violation in bad.field_violations]


def start_at(position: Position | position_pb2.Position) -> stream_pb2.Start:
    """A start at a position."""
    if isinstance(position, Position):
        position = position_pb2.Position(
            log_epoch=position.log_epoch, next_seq=position.next_seq, filter_hash=position.filter_hash
        )
    return stream_pb2.Start(position=position)


PLENTY = stream_pb2.Credit(events=1_000_000, bytes=1_000_000_000)
