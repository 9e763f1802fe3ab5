"""The least that Starlette can do for a stream: writes frames that are there, in a body or on a WebSocket."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

_BURST: Final = 64  # what is sent to who has gone waits for nothing: nobody else would ever have a turn


def _app(frames: Sequence[str]) -> Starlette:
    encoded = [frame.encode() for frame in frames]

    async def again() -> AsyncIterator[bytes]:
        for number, frame in enumerate(cycle(encoded)):
            yield frame
            if number % _BURST == 0:
                await asyncio.sleep(0)

    async def events(_: Request) -> StreamingResponse:
        return StreamingResponse(again(), media_type="text/event-stream")

    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()
        for number, frame in enumerate(cycle(frames)):
            await socket.send_text(frame)
            if number % _BURST == 0:
                await asyncio.sleep(0)

    return Starlette(routes=[Route("/v1/events", events), WebSocketRoute("/v1/stream", stream)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True, help="where it serves, though that is HTTP")
    parser.add_argument("--frames", type=Path, required=True, help="a list of texts, as JSON")
    arguments = parser.parse_args()
    host, _, port = arguments.grpc_address.rpartition(":")
    config = uvicorn.Config(
        _app(json.loads(arguments.frames.read_text())),
        host=host,
        port=int(port),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
    )
    asyncio.run(uvicorn.Server(config).serve())
