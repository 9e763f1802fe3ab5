"""The HTTP server in our process: its port, its limits, and an end that waits for nobody's goodwill."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from fcntl import ioctl
from http import HTTPStatus
from termios import TIOCOUTQ
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from infra.runtime.lifespan import StartupError, background
from sync.gateway.connection import out_of_chunk
from sync.gateway.errors import RequestRefusedError, TooManyConnectionsError, refused

HEAD_BYTES_MAX: Final = 16_384  # request line and headers; a token takes up to 4 KiB of it
_HEAD_SECONDS: Final = 10.0
_REST_SECONDS: Final = 10.0  # for what is still to come of a request that has been answered
_FRAMING_BYTES_MAX: Final = 1_048_576  # of a body's chunks, beside the body: sizes, extensions, trailers
_IDLE_SECONDS: Final = 30
_UNREAD_MS: Final = 60_000  # that a peer may take nothing of what was sent
PING_SECONDS: Final = 20.0  # on a WebSocket, so that a peer that has gone is missed even where nothing is sent
_MESSAGE_BYTES_MAX: Final = 262_144  # of a WebSocket, received
_DRAIN_SECONDS: Final = 5
_GOODBYE_SECONDS: Final = 2.0  # for a reader to make room for it; who takes nothing cannot be told anything
_STARTED_SECONDS: Final = 10.0
_WAITING_MAX: Final = 2_048  # connections that nobody has accepted yet
_HEAD_TOO_LARGE: Final = RequestRefusedError("HEADERS_TOO_LARGE", f"the headers have more than {HEAD_BYTES_MAX} bytes")


@contextmanager
def listening_at(address: str) -> Generator[socket.socket]:
    """A socket that listens: who comes before it is served waits.

    Args:
        address: `host:port`; port 0 takes any free one.

    Raises:
        StartupError: The port is in use.
    """
    host, _, port = address.rpartition(":")
    with socket.socket() as listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # on Linux the kernel itself cuts off who reads nothing
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
            listening.bind((host, int(port)))
            listening.listen(_WAITING_MAX)
        except (OSError, ValueError, OverflowError) as error:
            raise StartupError(
                f"address {address} is not free: stop what listens there, or choose another with --http-address"
            ) from error
        yield listening


@asynccontextmanager
async def open_http(listening: socket.socket, app: ASGIApp, *, connections_max: int) -> AsyncIterator[None]:
    """Serves the application until the context ends, and then what has been begun, for a few seconds.

    Args:
        listening: Where; it is closed in the end.
        app: Streams that it serves are to be ended by whoever began them, before the context ends.
        connections_max: How many connections are served at once; a request on any other one is answered 503.
    """
    config = _Config(
        app,
        http=_Protocol,
        ws=_WebSocket,
        ws_max_size=_MESSAGE_BYTES_MAX,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=None,  # to a slow reader, a ping comes behind all the megabytes that its kernel holds
        ws_per_message_deflate=False,  # compressed, each reader would be written bytes of its own
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    config.connections_max = connections_max
    server = _Server(config)
    async with background(server.serve([listening]), name="http"):
        async with asyncio.timeout(_STARTED_SECONDS):
            await server.ready.wait()
        try:
            yield
        finally:
            cutting = asyncio.get_running_loop().call_later(_GOODBYE_SECONDS, server.cut_stalled, server.untaken())
            if server.server_state.tasks:  # streams: asked to exit, the server would break off their goodbyes
                await asyncio.wait(server.server_state.tasks, timeout=_DRAIN_SECONDS)
            server.should_exit = True
            await server.ended.wait()
            cutting.cancel()


class _Config(uvicorn.Config):
    """What every connection can look up."""

    connections_max: int


class _Server(uvicorn.Server):
    """Leaves signals to the process: taken here, they would end it before its other servers have drained."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def untaken(self) -> Mapping[Any, int]:
        """By connection, how much of what it was sent its reader has not taken yet."""
        connections: Sequence[Any] = tuple(self.server_state.connections)
        return {connection: connection.untaken_bytes() for connection in connections}

    def cut_stalled(self, before: Mapping[Any, int]) -> None:
        """Ends connections that are full, and whose readers have taken nothing since."""
        for connection, untaken_bytes in self.untaken().items():
            if connection.is_full() and untaken_bytes >= before.get(connection, 0):
                connection.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            self.ended.set()


def _untaken_bytes(transport: asyncio.Transport) -> int:
    """See `Connection.untaken_bytes`; where a kernel does not tell, it is what the kernel has not got yet."""
    waiting = transport.get_write_buffer_size()
    with suppress(OSError, ValueError):  # as where it is closed already
        queued = ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        waiting += int.from_bytes(queued, sys.byteorder)
    return waiting


class _Handshake(ServerProtocol):
    """A WebSocket's opening, refused in the words of every other refusal: the library's own are of its classes."""

    def reject(self, status: int, text: str) -> Response:  # noqa: ARG002 - as its parent has it
        body = bytes(refused(RequestRefusedError("HANDSHAKE_REFUSED", "this opens no WebSocket of RFC 6455")).body)
        headers = Headers(
            [("Connection", "close"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        )
        return Response(status, HTTPStatus(status).phrase, headers, body)


class _WebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. Pings are for the kernel, which notices that nobody takes them: an answer to one may be late."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as its parent has them
        super().__init__(*args, **options)
        self.conn = _Handshake(max_size=self.config.ws_max_size, logger=self.conn.logger)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["state"]["connection"] = self

    async def send(self, message: Any) -> None:  # noqa: ANN401 - as its parent has it
        await super().send(message)
        if self.close_sent:  # by a refusal, which completes the handshake, too: nothing to log as our error
            self.handshake_complete = True

    def is_full(self) -> bool:
        return not self.writable.is_set()

    def untaken_bytes(self) -> int:
        return _untaken_bytes(self.transport)

    async def drained(self) -> None:
        await self.writable.wait()

    def write(self, framed: bytes) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(framed)

    def abort(self) -> None:
        self.transport.abort()


class _Protocol(HttpToolsProtocol):
    """One connection. What its parser leaves unbounded has bounds here: how long a request may be, and take."""

    config: _Config
    _surplus = False
    _streams = False
    _in_chunks = True  # what a stream writes
    _in_head = False
    _is_whole = True  # the request that came last
    _head_bytes = 0
    _framing_bytes = 0  # of what follows the head, but for the body itself
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its parent has it
        super().connection_made(transport)
        self._surplus = len(self.connections) > self.config.connections_max
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Who has no more to say may still wait for the answer; who reads a stream says so by being there."""
        waits = self._is_whole and not self._streams and self.cycle is not None and not self.cycle.response_complete
        if waits:
            self.cycle.keep_alive = False
        return waits

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._framing_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(_HEAD_TOO_LARGE)
        elif self._framing_bytes > _FRAMING_BYTES_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["connection"] = self
        self._is_whole = False
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what trails a body is no part of what was asked
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_whole = True
        self._framing_bytes = 0
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._streams = False
        super().on_response_complete()
        if self.cycle.response_complete and not self._is_whole and not self._in_head:
            self._await(_REST_SECONDS)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._framing_bytes = 0
        self._stop_timer()
        refusal = self._refusal()
        if refusal is not None:
            self._refuse(refusal)
            raise ValueError  # ends the parser's work
        super().on_headers_complete()

    def _refusal(self) -> Exception | None:
        """Why the request is not served, whatever it asks for."""
        if self._surplus:  # told now and not at once: what is closed before it was read reaches nobody
            return TooManyConnectionsError(self.config.connections_max)
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            return _HEAD_TOO_LARGE
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return RequestRefusedError("MALFORMED_HTTP", "HTTP/1.1 has exactly one Host header")
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            return RequestRefusedError("MALFORMED_HTTP", "the one transfer encoding that is taken is chunked")
        return None

    def is_full(self) -> bool:
        return self.flow.write_paused

    def untaken_bytes(self) -> int:
        return _untaken_bytes(self.transport)

    async def drained(self) -> None:
        await self.flow.drain()

    def begin_stream(self, *, chunked: bool) -> None:
        self._streams = True
        self._in_chunks = chunked
        if not chunked:
            self.cycle.chunked_encoding = False

    def write(self, framed: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(framed if self._in_chunks else out_of_chunk(framed))

    def abort(self) -> None:
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - what the parser says is not for callers
        self._refuse(RequestRefusedError("MALFORMED_HTTP", "the request is no HTTP"))

    def _await_head(self) -> None:
        if not self._in_head:
            self._in_head = True
            self._head_bytes = 0
            self._await(_HEAD_SECONDS)

    def _await(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, error: Exception) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        answer = refused(error)
        head: list[Any] = [f"HTTP/1.1 {answer.status_code} \r\n".encode(), b"connection: close\r\n"]
        for name, value in answer.raw_headers:
            head += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*head, b"\r\n", bytes(answer.body)]))
        self.transport.close()
