"""Readers of every stream there is: they go on where they stood, however often they are cut off, and write it down."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from operator import ge
from typing import Any, Final

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_frame_pb2 import EventBatch, ServerFrame
from stateset.order.v1.order_service_pb2 import StreamOrderEventsRequest
from stateset.order.v1.order_service_pb2_grpc import OrderServiceStub
from stateset.stream.v1.stream_pb2 import (
    ACK_STATUS_COMMITTED,
    CREDIT_MODE_SET,
    START_POINT_EARLIEST,
    START_POINT_STORED,
    Ack,
    ClientFrame,
    Credit,
    Open,
    Start,
)
from stateset.sync.v1.sync_service_pb2 import StreamEventsRequest, SubscribeRequest
from stateset.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from tests.guarantees.calls import details_of, info_of
from tests.guarantees.history import Arrived, Committed, Ended, History, Opened, Progressed, Seqs, now_ns
from tests.guarantees.http_readers import ServerSent, Sockets, StreamEndedError
from tests.guarantees.truth import digest_of

_HEARTBEAT_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = 10.0  # a stream that says nothing for so long is opened anew
_RETRY_SECONDS: Final = 0.2
_FRAMES_A_STREAM: Final = (5, 30)  # then the reader leaves by itself, and comes back
_CREDIT_EVENTS: Final = 1_000  # some batches: so that credit is granted again and again
_CREDIT_BYTES: Final = 4_194_304
_DAWDLES: Final = 0.2  # of the frames
_DAWDLE_SECONDS: Final = (0.2, 4.0)  # no wait for anything: a slow reader is one that lets time go by
_SILENCE: Final = "SILENCE"
_NOT_TOLD: Final = "Internal error from Core"  # gRPC's own: a write met the end of its stream, and nobody says why
_SUBSCRIPTION: Final = "guarantees"
_streams = count(1)


class Reader:
    """One reader, from its first stream to its last.

    Attributes:
        next_seqs: By shard, the seq that is due; empty before the first stream.
    """

    def __init__(self, name: str, history: History, connect: Callable[[Open], Any], *, log_epoch: str) -> None:
        self.name = name
        self.next_seqs: Seqs = []
        self._history = history
        self._connect = connect
        self._log_epoch = log_epoch
        self._customer_id = ""
        self._durable = False
        self._slow = False
        self._stream = 0
        self._drawn = random.Random(name)  # noqa: S311 - the same in every run

    def of_customer(self, customer_id: str) -> "Reader":
        """Reads this customer's orders only."""
        self._customer_id = customer_id
        return self

    def by_acks(self) -> "Reader":
        """Goes on where its acks have moved the server's floor."""
        self._durable = True
        return self

    def slowly(self) -> "Reader":
        """Now and then reads nothing for a while, whatever the server has to say."""
        self._slow = True
        return self

    def has_reached(self, heads: Seqs) -> bool:
        """Whether it has read everything below the heads."""
        return bool(self.next_seqs) and all(map(ge, self.next_seqs, heads))

    async def run(self) -> None:
        """Reads until it is cancelled."""
        while True:
            self._stream = next(_streams)
            call = self._connect(self._open())
            reason = _SILENCE
            try:
                reason = await self._read(call)
            except StreamEndedError as error:
                reason = str(error)
            except grpc.aio.AioRpcError as error:
                told = info_of(details_of(error)).reason or error.code().name
                reason = _SILENCE if error.details() == _NOT_TOLD else told
            except (TimeoutError, asyncio.InvalidStateError):  # the latter: an ack met the end of its stream
                reason = _SILENCE
            finally:
                call.cancel()
                self._history.note(Ended(now_ns(), self._stream, reason))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, call: Any) -> str:  # noqa: ANN401 - any kind of stream
        if self._durable:
            await call.write(SubscribeRequest(frame=ClientFrame(open=self._open())))
        for _ in range(self._drawn.randrange(*_FRAMES_A_STREAM)):
            async with asyncio.timeout(_SILENCE_SECONDS):
                reply = await call.read()
            if reply is grpc.aio.EOF:
                return ""
            kind = reply.frame.WhichOneof("frame")
            if kind in _FRAMES:
                _FRAMES[kind](self, reply.frame)
            if kind == "events" and self._durable:
                await self._ack(call)
            if self._slow and self._drawn.random() < _DAWDLES:
                await asyncio.sleep(self._drawn.uniform(*_DAWDLE_SECONDS))
        return ""

    def _open(self) -> Open:
        start = Start(point=START_POINT_EARLIEST)
        if self._durable:
            start = Start(point=START_POINT_STORED)
        elif self.next_seqs:
            start = Start(position=self._position())
        return Open(
            subscription=_SUBSCRIPTION if self._durable else "",
            start=start,
            filter=f'customer_id = "{self._customer_id}"' if self._customer_id else "",
            credit=_credit() if self._durable else None,
            heartbeat_interval=Duration(seconds=int(_HEARTBEAT_SECONDS)),
        )

    async def _ack(self, call: Any) -> None:  # noqa: ANN401 - a stream of two ways
        await call.write(SubscribeRequest(frame=ClientFrame(ack=Ack(ack_id="1", through=self._position()))))
        await call.write(SubscribeRequest(frame=ClientFrame(credit=_credit())))

    def _position(self) -> Position:
        return Position(log_epoch=self._log_epoch, next_seq=self.next_seqs)

    def _on_opened(self, frame: ServerFrame) -> None:
        start = list(frame.opened.position.next_seq)
        asked = self.next_seqs or [1] * len(start)
        opened = Opened(now_ns(), self._stream, self.name, asked, start, self._customer_id, self._durable)
        self._history.note(opened)
        self.next_seqs = start

    def _on_events(self, frame: ServerFrame) -> None:
        for batch in frame.events.batches:
            self._history.note(self._arrived(batch))
            self.next_seqs[batch.shard] = batch.last_seq + 1

    def _on_progress(self, frame: ServerFrame) -> None:
        at = list(frame.progress.at.next_seq)
        self._history.note(Progressed(now_ns(), self._stream, at, frame.progress.as_of.ToMicroseconds()))
        self.next_seqs = list(map(max, self.next_seqs, at))

    def _on_ack_result(self, frame: ServerFrame) -> None:
        if frame.ack_result.status == ACK_STATUS_COMMITTED:
            self._history.note(Committed(now_ns(), self._stream, list(frame.ack_result.floor.next_seq)))

    def _arrived(self, batch: EventBatch) -> Arrived:
        events = [
            (
                *(event.seq, event.version, event.order_id, event.metadata.event_id, digest_of(event)),
                *(event.metadata.group_index, event.metadata.group_size),
            )
            for event in batch.events
        ]
        return Arrived(now_ns(), self._stream, batch.shard, batch.first_seq, batch.last_seq, events)


_FRAMES: Final[Mapping[str, Callable[[Reader, ServerFrame], None]]] = {
    "opened": Reader._on_opened,  # noqa: SLF001 - the class's own table
    "events": Reader._on_events,  # noqa: SLF001 - as above
    "progress": Reader._on_progress,  # noqa: SLF001 - as above
    "ack_result": Reader._on_ack_result,  # noqa: SLF001 - as above
}


def readers(
    order: Sequence[grpc.aio.Channel],
    sync: grpc.aio.Channel,
    http: str,
    history: History,
    customer_id: str,
    *,
    log_epoch: str,
) -> list[Reader]:
    """One on each Order Service; on the Sync Server one of everything, one with a filter, one with acks, one slow.

    At its gateway, whose address is `http`, one more of everything for each kind of stream.
    """
    stub = SyncServiceStub(sync)

    def stream(spec: Open) -> Any:  # noqa: ANN401 - gRPC's kinds of call share no base
        return stub.StreamEvents(StreamEventsRequest(open=spec))

    def log_of(channel: grpc.aio.Channel) -> Callable[[Open], Any]:
        return lambda spec: OrderServiceStub(channel).StreamOrderEvents(StreamOrderEventsRequest(open=spec))

    return [
        *(
            Reader(f"order {number}", history, log_of(channel), log_epoch=log_epoch)
            for number, channel in enumerate(order, 1)
        ),
        Reader("sync", history, stream, log_epoch=log_epoch),
        Reader("sync, one customer", history, stream, log_epoch=log_epoch).of_customer(customer_id),
        Reader("sync, with acks", history, lambda _spec: stub.Subscribe(), log_epoch=log_epoch).by_acks(),
        Reader("sync, slow", history, stream, log_epoch=log_epoch).slowly(),
        Reader("gateway, server-sent events", history, ServerSent(http).open, log_epoch=log_epoch),
        Reader("gateway, WebSocket", history, Sockets(http).open, log_epoch=log_epoch),
    ]


def _credit() -> Credit:
    return Credit(events=_CREDIT_EVENTS, bytes=_CREDIT_BYTES, mode=CREDIT_MODE_SET)
