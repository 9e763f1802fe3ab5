"""The four streams that carry the same frames, and one call on one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
from stateset.order.v1 import order_service_pb2 as order
from stateset.order.v1.order_frame_pb2 import ServerFrame
from stateset.stream.v1.stream_pb2 import ClientFrame, Open
from stateset.sync.v1 import sync_service_pb2 as sync

Arrival = tuple[int, ServerFrame]  # the size of the message in bytes, and what is in it


class Link:
    """One stream that is open, on a channel of its own: frames in, and frames out where the method takes them."""

    def __init__(self, channel: grpc.aio.Channel, call: Any, wrap: Callable[[ClientFrame], object]) -> None:  # noqa: ANN401 - gRPC's two kinds of call share no base
        self._channel = channel
        self._call = call
        self._wrap = wrap

    async def read(self) -> Arrival | None:
        """The next frame; none when the server has ended the stream with OK.

        Raises:
            grpc.aio.AioRpcError: It was ended otherwise.
        """
        arrival = await self._call.read()
        return None if arrival is grpc.aio.EOF else arrival

    async def write(self, frame: ClientFrame) -> None:
        """Sends a frame; one at a time.

        Raises:
            grpc.aio.AioRpcError: The stream has ended.
            asyncio.InvalidStateError: As above.
        """
        await self._call.write(self._wrap(frame))

    async def close(self) -> None:
        """Ends the stream from this side, if it has not ended, and its connection.

        A link that has fallen silent may be dead, and the next stream would be opened into the same silence.
        """
        self._call.cancel()
        await self._channel.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A service that streams events, by its two methods."""

    stream_path: str
    stream_request: Callable[[Open], Any]
    stream_reply: Callable[[bytes], Any]
    subscribe_path: str
    subscribe_request: Callable[[ClientFrame], Any]
    subscribe_reply: Callable[[bytes], Any]

    def stream(self, channel: grpc.aio.Channel, spec: Open) -> Link:
        """Opens the stream whose reader keeps its own position."""
        method = channel.unary_stream(
            self.stream_path, request_serializer=_encode, response_deserializer=_measured(self.stream_reply)
        )
        return Link(channel, method(self.stream_request(spec)), lambda frame: frame)

    def subscribe(self, channel: grpc.aio.Channel) -> Link:
        """Opens the stream with credit and acks; the first frame written must be the Open."""
        method = channel.stream_stream(
            self.subscribe_path, request_serializer=_encode, response_deserializer=_measured(self.subscribe_reply)
        )
        return Link(channel, method(), self.subscribe_request)


def _encode(message: Any) -> bytes:  # noqa: ANN401 - a request of either service
    encoded: bytes = message.SerializeToString()
    return encoded


def _measured(decode: Callable[[bytes], Any]) -> Callable[[bytes], Arrival]:
    """Decodes a reply and keeps its size, which the message itself could only tell by encoding it again."""
    return lambda data: (len(data), decode(data).frame)


SYNC: Final = Source(
    stream_path="/stateset.sync.v1.SyncService/StreamEvents",
    stream_request=lambda spec: sync.StreamEventsRequest(open=spec),
    stream_reply=sync.StreamEventsResponse.FromString,
    subscribe_path="/stateset.sync.v1.SyncService/Subscribe",
    subscribe_request=lambda frame: sync.SubscribeRequest(frame=frame),
    subscribe_reply=sync.SubscribeResponse.FromString,
)
ORDER_LOG: Final = Source(
    stream_path="/stateset.order.v1.OrderService/StreamOrderEvents",
    stream_request=lambda spec: order.StreamOrderEventsRequest(open=spec),
    stream_reply=order.StreamOrderEventsResponse.FromString,
    subscribe_path="/stateset.order.v1.OrderService/SubscribeOrderEvents",
    subscribe_request=lambda frame: order.SubscribeOrderEventsRequest(frame=frame),
    subscribe_reply=order.SubscribeOrderEventsResponse.FromString,
)
