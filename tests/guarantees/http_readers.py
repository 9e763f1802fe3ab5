"""Streams of the gateway that a `Reader` reads like calls of gRPC, and that go on at the token that they heard last."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import grpc.aio
import httpx
from google.protobuf.json_format import ParseDict
from stateset.order.v1.order_frame_pb2 import ServerFrame
from stateset.sync.v1.sync_service_pb2 import SubscribeResponse
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.harness.gateway_streams import SSE

_WAITING_MAX: Final = 4
_SECONDS: Final = 10.0
_BROKEN: Final = (httpx.HTTPError, OSError, WebSocketException)
_CREDIT: Final = {"events": 1_000_000, "bytes": 1 << 40}
_HEARTBEAT: Final = "1s"


class StreamEndedError(Exception):
    """The stream has ended otherwise than it should; the message is the reason."""


class HttpStream:
    """One stream, in place of a call. Tells which token it has come to as its frames are read, not as they arrive."""

    def __init__(self, frames: AsyncGenerator[tuple[str, ServerFrame], None], passed: Callable[[str], None]) -> None:
        self._passed = passed
        self._replies: asyncio.Queue[Any] = asyncio.Queue(_WAITING_MAX)
        self._reading = asyncio.create_task(self._read_all(frames), name="http stream")

    async def read(self) -> Any:  # noqa: ANN401 - a reply, or gRPC's own end of a stream
        """The next reply; EOF at the end.

        Raises:
            StreamEndedError: It ended with an error.
        """
        reply = await self._replies.get()
        if isinstance(reply, StreamEndedError):
            raise reply
        if reply is grpc.aio.EOF:
            return reply
        token, frame = reply
        self._passed(token)
        return SubscribeResponse(frame=frame)

    def cancel(self) -> None:
        """The reader leaves."""
        self._reading.cancel()

    async def _read_all(self, frames: AsyncGenerator[tuple[str, ServerFrame], None]) -> None:
        end: Any = grpc.aio.EOF
        try:
            async with aclosing(frames):
                async for frame in frames:
                    await self._replies.put(frame)
        except StreamEndedError as error:
            end = error
        except _BROKEN as error:
            end = StreamEndedError(type(error).__name__)
        await self._replies.put(end)


class Endpoint(ABC):
    """Where the gateway at the address streams; each stream begins where the last one has come to."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._token = ""

    def open(self, _spec: object) -> HttpStream:
        """The next stream."""
        return HttpStream(self._frames(), self._pass)

    def _pass(self, token: str) -> None:
        self._token = token

    @abstractmethod
    def _frames(self) -> AsyncGenerator[tuple[str, ServerFrame], None]:
        """Frames, each with the token of the place behind it."""


class ServerSent(Endpoint):
    """`GET /v1/events`."""

    async def _frames(self) -> AsyncGenerator[tuple[str, ServerFrame], None]:
        headers = {**SSE, **({"last-event-id": self._token} if self._token else {})}
        asked = {"start": "EARLIEST", "heartbeatInterval": _HEARTBEAT}
        kind = token = ""
        async with (
            httpx.AsyncClient(base_url=f"http://{self._address}", timeout=_SECONDS) as http,
            http.stream("GET", "/v1/events", params=asked, headers=headers) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise StreamEndedError(_reason_of(json.loads(await answer.aread())))
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    token = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    if kind == "error":
                        raise StreamEndedError(_reason_of(json.loads(value)))
                    yield token, ParseDict(json.loads(value), ServerFrame())


class Sockets(Endpoint):
    """`/v1/stream`."""

    async def _frames(self) -> AsyncGenerator[tuple[str, ServerFrame], None]:
        start = {"token": self._token} if self._token else {}
        opening = {"start": {"point": "START_POINT_EARLIEST"}, "credit": _CREDIT, "heartbeatInterval": _HEARTBEAT}
        async with connect(f"ws://{self._address}/v1/stream", max_size=None, proxy=None) as socket:
            await socket.send(json.dumps({"frame": {"open": opening}, **start}))
            async for text in socket:
                message = json.loads(text)
                if "error" in message:
                    raise StreamEndedError(_reason_of(message["error"]))
                yield message["token"], ParseDict(message["frame"], ServerFrame())


def _reason_of(status: Mapping[str, Any]) -> str:
    return next((str(each["reason"]) for each in status.get("details", []) if "reason" in each), "UNKNOWN")
