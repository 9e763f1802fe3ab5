"""What the gateway serves, put together."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from grpc import StatusCode
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from sync.gateway.errors import RequestRefusedError, refused
from sync.gateway.rules import MethodNotAllowedError, UnknownPathError

Page = Callable[[Request], Awaitable[Response]]

_GZIP_BYTES_MIN: Final = 1_024
_GZIP_LEVEL: Final = 4  # twice as fast as the default, and within a tenth of its size on JSON
_STREAMS: Final = (
    "text/event-stream",
    "application/x-ndjson",
)  # compressed, each reader would be written bytes of its own
_ASKED: Final = """
authorization content-type grpc-timeout idempotency-key if-match last-event-id traceparent tracestate
""".split()
_SHOWN: Final = "etag idempotent-replayed retry-after".split()
_NEVER: Final = re.compile("q=0([.]0*)?")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class App:
    """The paths of the contracts, and the pages beside them.

    Attributes:
        contracts: Answers every path that is no page.
        pages: By path, what is read there with GET.
        sockets: By path, what serves a WebSocket there.
    """

    contracts: Page
    pages: Mapping[str, Page]
    sockets: Mapping[str, Callable[[WebSocket], Awaitable[None]]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "websocket":
            await self._serve_socket(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        await (await self._answer(request))(scope, receive, send)

    async def _serve_socket(self, socket: WebSocket) -> None:
        serve = self.sockets.get(socket.scope["path"])
        if serve is None:
            await socket.send_denial_response(refused(UnknownPathError()))
        else:
            await serve(socket)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"]
        if path in self.sockets:
            answer = refused(RequestRefusedError("UPGRADE_REQUIRED", "a WebSocket is served here"))
            answer.headers["upgrade"] = "websocket"
            return answer
        page = self.pages.get(path)
        if page is None:
            return await self.contracts(request)
        if request.method not in ("GET", "HEAD"):
            return refused(MethodNotAllowedError(["GET"]))
        try:
            return await page(request)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return refused(error)


def with_middleware(app: ASGIApp, *, allowed_origins: frozenset[str]) -> ASGIApp:
    """The application, compressing, and with the headers by which browsers let pages of the origins read answers."""
    app = _Compressing(
        app,
        minimum_size=_GZIP_BYTES_MIN,
        compresslevel=_GZIP_LEVEL,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *_STREAMS),
    )
    if not allowed_origins:
        return app
    return _Cors(
        app,
        allow_origins=sorted(allowed_origins),
        allow_methods=_METHODS,
        allow_headers=_ASKED,
        expose_headers=_SHOWN,
    )


class _Compressing(GZipMiddleware):
    """Leaves alone who wants nothing compressed: its parent takes `gzip;q=0` for a wish."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wishes = ",".join(Headers(scope=scope).getlist("accept-encoding")) if scope["type"] == "http" else ""
        app = super().__call__ if _takes_gzip(wishes) else self.app
        await app(scope, receive, send)


class _Cors(CORSMiddleware):
    """Refuses in the words of every other refusal."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        told = refused(RequestRefusedError("ORIGIN_REFUSED", "a page may not send this", StatusCode.PERMISSION_DENIED))
        told.headers["vary"] = answer.headers["vary"]
        return told


def _takes_gzip(wishes: str) -> bool:
    weights = {name.strip().lower(): rest for name, _, rest in (each.partition(";") for each in wishes.split(","))}
    weight = weights.get("gzip", weights.get("*"))
    return weight is not None and not _NEVER.fullmatch(weight.replace(" ", ""))
