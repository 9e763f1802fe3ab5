"""`GET /v1/events`: a stream of events that goes one way, as server-sent events or as lines of JSON."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from mimeparse import MimeTypeParseException, best_match, parse_media_range
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from stateset.order.v1 import order_frame_pb2
from stateset.stream.v1 import stream_pb2

from infra.runtime.grpc.call import LOCAL
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import position_of_token, position_to_wire
from sync.adapters.wire_requests import open_from_wire
from sync.application.stream import Stream
from sync.application.subscribe import Streams
from sync.domain.frames import ClientFrame, Close, Open
from sync.gateway.binding import bound
from sync.gateway.connection import Answered, Connection, Turns, in_chunk
from sync.gateway.errors import RequestRefusedError, json_of_status, status_of
from sync.gateway.frames import BATCH_EVENTS, Texts, as_event, as_line, tokened
from sync.gateway.json_text import json_bytes
from sync.gateway.openapi import query_parameters
from sync.gateway.requests import query_of, refuse_others

EVENTS_PATH: Final = "/v1/events"
_RETRY: Final = b"retry: 1000\n\n"  # milliseconds after which a browser comes back; its own default is 3 to 5 s
_PATH: Final = "query"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A form of the stream: its media type, its texts, what it begins with, and how it tells of an error."""

    media_type: str
    texts: Texts
    prelude: bytes
    error: Callable[[bytes], bytes]


class Events:
    """The page."""

    def __init__(self, streams: Streams, *, shards: int, allowed_origins: frozenset[str]) -> None:
        self._streams = streams
        self._shards = shards
        self._allowed_origins = allowed_origins
        sse = _Kind(
            "text/event-stream", Texts(as_event, in_chunk), _RETRY, lambda text: b"event: error\ndata: %b\n\n" % text
        )
        lines = _Kind("application/x-ndjson", Texts(as_line, in_chunk), b"", lambda text: b'{"error":%b}\n' % text)
        self._kinds = {kind.media_type: kind for kind in (lines, sse)}  # the last one, where either would do

    async def answer(self, request: Request) -> Response:
        """The stream, open already: what is wrong with it has been said by then.

        Raises:
            InvalidRequestError: The request cannot be understood.
            PositionError: The stream cannot start where it asks to.
            RequestRefusedError: It wants neither form, or is of a page that may not.
        """
        # Though a GET, it may make a subscription, and takes one over.
        refuse_others(request.headers, self._allowed_origins)
        kind = self._kind(request.headers.getlist("accept"))
        asked = self._asked(query_of(request.scope), request.headers.get("last-event-id", ""))
        async with AsyncExitStack() as stack:
            if request.method == "HEAD":
                return Response(media_type=kind.media_type)
            stream = await stack.enter_async_context(self._streams.open(asked, LOCAL, _until_gone(request.receive)))
            return _Answer(kind, stream, stack.pop_all())

    def _kind(self, accept: Sequence[str]) -> _Kind:
        ranges = [each for each in ",".join(accept).lower().split(",") if _is_range(each)] if accept else ["*/*"]
        wanted = best_match(list(self._kinds), ",".join(ranges))
        if not wanted:
            raise RequestRefusedError("NOT_ACCEPTABLE", f"served are {' and '.join(self._kinds)}")
        return self._kinds[wanted]

    def _asked(self, query: list[tuple[str, str]], last_event_id: str) -> Open:
        starts = [value for name, value in query if name == "start"]
        message: Any = bound(stream_pb2.Open.DESCRIPTOR, [pair for pair in query if pair[0] != "start"])
        if len(starts) + message.HasField("start") > 1 or message.HasField("credit"):
            raise InvalidRequestError([Violation("query", "takes one start, and no credit")])
        message.batch_events_max = message.batch_events_max or BATCH_EVENTS
        start = last_event_id or "".join(starts)
        if start in _POINTS:
            message.start.point = _POINTS[start]
        elif start:
            message.start.position.CopyFrom(position_to_wire(position_of_token(start)))
        # The connection alone bounds what is in flight: there is nobody to ask for credit.
        asked = open_from_wire(message, path=_PATH, shards=self._shards, durable=True)
        strange = [field.json_name for field, _ in message.ListFields() if field.name in _OF_BOTH_WAYS]
        if strange:
            raise InvalidRequestError([Violation(name, "needs a stream that goes both ways") for name in strange])
        return replace(tokened(asked, _PATH), credit=None)


def _is_range(text: str) -> bool:
    try:
        parse_media_range(text)
    except MimeTypeParseException:
        return False
    return True


_OF_BOTH_WAYS: Final = ("silence_max", "unacked_events_max")  # of an Open: for callers who speak while they read
_NOT_IN_QUERY: Final = ("start", "credit", *_OF_BOTH_WAYS)
_OPEN_PARAMETERS: Final = query_parameters(
    [field for field in stream_pb2.Open.DESCRIPTOR.fields if field.name not in _NOT_IN_QUERY], {}
)
_DESCRIBED: Final = {
    "batchEventsMax": {
        "description": f"Most events in one frame, but for a group that is larger; {BATCH_EVENTS} when 0."
    }
}
_ERROR: Final = {"$ref": "#/components/schemas/google.rpc.Status"}
_FRAME: Final = order_frame_pb2.ServerFrame.DESCRIPTOR
_LINE: Final = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "frame": {"$ref": f"#/components/schemas/{_FRAME.full_name}"},
        "error": _ERROR,
    },
}
EVENTS_MESSAGES: Final = (_FRAME, stream_pb2.ClientFrame.DESCRIPTOR)  # what streams speak, a WebSocket both ways
EVENTS_PATHS: Final[Mapping[str, Any]] = {
    EVENTS_PATH: {
        "get": {
            "operationId": "events",
            "tags": ["Events"],
            "description": "Streams events from a position, then the live tail; see docs/http.md.",
            "parameters": [
                {
                    "name": "start",
                    "in": "query",
                    "description": "EARLIEST, LATEST, STORED or a token.",
                    "schema": {"type": "string"},
                },
                {
                    "name": "start.time",
                    "in": "query",
                    "description": "Instead: at the first event of each shard that was recorded then or later.",
                    "schema": {"type": "string", "format": "date-time"},
                },
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "description": "The token of the last event; goes before any start.",
                    "schema": {"type": "string"},
                },
                *({**each, **_DESCRIBED.get(each["name"], {})} for each in _OPEN_PARAMETERS),
            ],
            "responses": {
                "200": {
                    "description": "Frames as they come.",
                    "content": {
                        "text/event-stream": {"schema": {"type": "string"}},
                        "application/x-ndjson": {"schema": _LINE},
                    },
                },
                "default": {"description": "A failure.", "content": {"application/json": {"schema": _ERROR}}},
            },
        }
    }
}
_POINTS: Final[Mapping[str, stream_pb2.StartPoint.ValueType]] = {
    "EARLIEST": stream_pb2.START_POINT_EARLIEST,
    "LATEST": stream_pb2.START_POINT_LATEST,
    "STORED": stream_pb2.START_POINT_STORED,
}


class _Answer(Response):
    """Writes the stream to the connection, as fast as its reader takes it and no faster."""

    def __init__(self, kind: _Kind, stream: Stream, stack: AsyncExitStack) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"}, media_type=kind.media_type)
        del self.headers["content-length"]
        self._kind = kind
        self._stream = stream
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as its parent has it
        """Serves the response; ends with the stream."""
        connection: Answered = scope["state"]["connection"]
        connection.begin_stream(chunked=scope["http_version"] == "1.1")
        async with self._stack:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await self._write(connection)
            except TimeoutError:
                return  # its connection is cut
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, connection: Connection) -> None:
        if self._kind.prelude:  # a chunk of nothing would be the last one
            connection.write(in_chunk(self._kind.prelude))
        turns = Turns(connection)
        try:
            async with aclosing(self._stream.frames()) as frames:
                async for frame in frames:
                    await turns.next(made=self._kind.texts.has(frame, self._stream.session))
                    connection.write(self._kind.texts.of(frame, self._stream.session))
        except TimeoutError:
            raise
        except Exception as error:  # noqa: BLE001 - the status line has gone: the stream itself tells of it
            await turns.next(made=False)
            connection.write(in_chunk(self._kind.error(json_bytes(json_of_status(status_of(error))))))


async def _until_gone(receive: Receive) -> AsyncIterator[ClientFrame]:
    """The only thing that the reader can say: that it has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    yield Close()
