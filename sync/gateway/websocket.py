"""`/v1/stream`: the whole frame protocol as JSON, both ways, over a WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Final

from grpc import StatusCode
from starlette.websockets import WebSocket, WebSocketDisconnect
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.call import LOCAL
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.opening import first_of
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import position_of_token, position_to_wire
from sync.adapters.wire_requests import client_frames, open_from_wire
from sync.application.subscribe import Streams
from sync.domain.frames import GoAway
from sync.gateway.binding import json_of, parsed
from sync.gateway.connection import Connection, Turns, in_message
from sync.gateway.errors import RequestRefusedError, json_of_status, refused, status_of
from sync.gateway.frames import BATCH_EVENTS, Texts, as_message, tokened
from sync.gateway.json_text import json_text
from sync.gateway.requests import refuse_others

# As RFC 6455 and those who keep its list number them.
_DONE: Final = 1000
_REFUSED: Final = 1008
_RESTARTS: Final = 1012
_TRY_LATER: Final = 1013
_PASSING: Final = {code.value[0] for code in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE)}
_PATH: Final = "frame.open"
_MESSAGE: Final = "message"
_PARTS: Final = {"frame", "token"}


class Socket:
    """Serves each WebSocket as one stream."""

    def __init__(self, streams: Streams, draining: Draining, *, shards: int, allowed_origins: frozenset[str]) -> None:
        self._streams = streams
        self._draining = draining
        self._shards = shards
        self._allowed_origins = allowed_origins
        self._texts = Texts(as_message, in_message)

    async def serve(self, socket: WebSocket) -> None:
        """Serves it until either side has enough."""
        try:
            refuse_others(socket.headers, self._allowed_origins)
        except RequestRefusedError as error:
            await socket.send_denial_response(refused(error))
            return
        await socket.accept()
        with suppress(WebSocketDisconnect, TimeoutError):  # gone, cut off, or come to say nothing
            await socket.close(await self._served(socket))

    async def _served(self, socket: WebSocket) -> int:
        """The code that the connection ends with."""
        try:
            return await self._stream(socket)
        except (WebSocketDisconnect, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - every failure is told
            status = status_of(error)
            await Turns(socket.state.connection).next(made=False)
            await socket.send_text(f'{{"error":{json_text(json_of_status(status))}}}')
            return _TRY_LATER if status.code in _PASSING else _REFUSED

    async def _stream(self, socket: WebSocket) -> int:
        requests = aiter(_requests(socket))
        first = await first_of(requests, self._draining)
        opening = first.frame.open
        opening.batch_events_max = opening.batch_events_max or BATCH_EVENTS
        asked = tokened(open_from_wire(opening, path=_PATH, shards=self._shards, durable=True), _PATH)
        code = _DONE
        connection: Connection = socket.state.connection
        turns = Turns(connection)
        async with (
            self._streams.open(asked, LOCAL, client_frames(requests)) as stream,
            aclosing(stream.frames()) as frames,
        ):
            async for frame in frames:
                await turns.next(made=self._texts.has(frame, stream.session))
                connection.write(self._texts.of(frame, stream.session))
                if isinstance(frame, GoAway):
                    code = _RESTARTS
        return code


async def _requests(socket: WebSocket) -> AsyncIterator[sync_service_pb2.SubscribeRequest]:
    """What the caller says. That it has gone ends its stream.

    Raises:
        InvalidRequestError: It says what is no frame.
    """
    while (message := await socket.receive())["type"] == "websocket.receive":
        yield _request(message.get("text"))
        await asyncio.sleep(0)  # thousands may have come at once: others have a turn, too
    yield sync_service_pb2.SubscribeRequest(frame=stream_pb2.ClientFrame(close=stream_pb2.Close()))


def _request(text: str | None) -> sync_service_pb2.SubscribeRequest:
    if text is None:
        raise InvalidRequestError([Violation(_MESSAGE, "must be text")])
    tree = json_of(text.encode(errors="surrogatepass"))
    if not isinstance(tree, dict) or "frame" not in tree or tree.keys() - _PARTS:
        raise InvalidRequestError([Violation(_MESSAGE, "must be an object of a frame, and a token where one fits")])
    frame: Any = parsed(stream_pb2.ClientFrame.DESCRIPTOR, tree["frame"])
    if "token" in tree:
        _put_token(frame, tree["token"])
    return sync_service_pb2.SubscribeRequest(frame=frame)


def _put_token(frame: stream_pb2.ClientFrame, token: Any) -> None:  # noqa: ANN401 - any JSON
    """A token beside an Open is where to start, beside an Ack what is done."""
    if not isinstance(token, str):
        raise InvalidRequestError([Violation("token", "must be text")])
    position = position_to_wire(position_of_token(token))
    match frame.WhichOneof("frame"):
        case "open":
            frame.open.start.position.CopyFrom(position)
        case "ack":
            frame.ack.through.CopyFrom(position)
        case _:
            raise InvalidRequestError([Violation("token", "fits an open or an ack")])
