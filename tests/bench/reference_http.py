"""The least that Starlette can do for a stream: the same bytes again and again, as a body or on a WebSocket."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


def _app(body: bytes) -> Starlette:
    async def again() -> AsyncIterator[bytes]:
        while True:
            yield body

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(again(), media_type="text/event-stream")

    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        while True:
            await socket.send_text(body.decode())

    return Starlette(routes=[Route("/v1/events", events), WebSocketRoute("/v1/stream", stream)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True, help="where it serves, though that is HTTP")
    parser.add_argument("--body", type=Path, required=True)
    arguments = parser.parse_args()
    host, _, port = arguments.grpc_address.rpartition(":")
    config = uvicorn.Config(
        _app(arguments.body.read_bytes()),
        host=host,
        port=int(port),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
    )
    asyncio.run(uvicorn.Server(config).serve())
