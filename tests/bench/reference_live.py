"""The least that stands between a commit and a subscriber: two bare gRPC servers, one behind the other.

The first answers PlaceOrder with the same reply, all callers of one tick together, and streams an event for each. With
`--upstream` it is the second, which passes on to everybody what the first one streams.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import grpc.aio
from stateset.order.v1 import order_event_pb2, order_frame_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.server import OPTIONS
from tests.bench.events import recorded_event
from tests.bench.fanout import METHOD

_GROUPS_PER_S: Final = 40  # as often as the Order Service was seen to commit at the rate of the bench
_REPLY: Final = b" " * 1_000  # nobody reads it
_LIVE: Final = sync_service_pb2.StreamEventsResponse(
    frame=order_frame_pb2.ServerFrame(phase_change=stream_pb2.PhaseChange(phase=stream_pb2.PHASE_LIVE))
).SerializeToString()

Context = grpc.aio.ServicerContext[bytes, bytes]


class Everybody:
    """The streams that are open, and what is still to be sent to each."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Queue[bytes]] = set()

    async def stream(self, _request: bytes, _context: Context) -> AsyncIterator[bytes]:
        """Says that it is live, then whatever comes."""
        mine: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting.add(mine)
        try:
            yield _LIVE
            while True:
                yield await mine.get()
        finally:
            self._waiting.remove(mine)

    def send(self, message: bytes) -> None:
        """The same bytes to everybody."""
        for each in self._waiting:
            each.put_nowait(message)


class Ticks:
    """Answers calls, all that wait at once, and tells everybody of them."""

    def __init__(self, everybody: Everybody) -> None:
        self._everybody = everybody
        self._waiting: list[asyncio.Future[None]] = []

    async def place(self, _request: bytes, _context: Context) -> bytes:
        """Waits for the next tick."""
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        await answered
        return _REPLY

    async def run(self) -> None:
        """Until it is canceled."""
        while True:
            await asyncio.sleep(1 / _GROUPS_PER_S)
            group, self._waiting = self._waiting, []
            if group:
                self._everybody.send(_frame(len(group), time.time_ns() // 1_000))
            for answered in group:
                if not answered.done():
                    answered.set_result(None)


def _frame(events: int, record_time_us: int) -> bytes:
    """One message with so many events, recorded at that time."""
    event = order_event_pb2.OrderEvent.FromString(recorded_event(0, 1, record_time_us))
    batch = order_frame_pb2.EventBatch(first_seq=1, last_seq=events, events=[event] * events)
    frame = order_frame_pb2.ServerFrame(events=order_frame_pb2.Events(batches=[batch]))
    return sync_service_pb2.StreamEventsResponse(frame=frame).SerializeToString()


async def _pass_on(upstream: str, everybody: Everybody) -> None:
    async with open_channel(upstream) as channel:
        stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(METHOD)
        async for message in stream(b""):
            everybody.send(message)


async def _serve(address: str, upstream: str) -> None:
    everybody = Everybody()
    ticks = Ticks(everybody)
    stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(everybody.stream)
    place: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(ticks.place)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("stateset.sync.v1.SyncService", {"StreamEvents": stream}),
            grpc.method_handlers_generic_handler("stateset.order.v1.OrderService", {"PlaceOrder": place}),
        )
    )
    server.add_insecure_port(address)
    await server.start()
    await (_pass_on(upstream, everybody) if upstream else ticks.run())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--upstream", default="", help="the first one's address; it is the first one without")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.grpc_address, arguments.upstream))
