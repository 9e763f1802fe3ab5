"""Readers of the gateway's streams, and the proof that nothing was lost, repeated or out of order."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

SSE = {"accept": "text/event-stream"}
LINES = {"accept": "application/x-ndjson"}
_SECONDS = 20.0


@dataclass(slots=True)
class Seen:
    """What a reader was sent on all of its streams together.

    Attributes:
        seqs: By shard, the seqs of its events in their sequence.
        versions: By order, the versions of its events in their sequence.
        token: Where it stands.
    """

    seqs: dict[int, list[int]] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)
    token: str = ""

    @property
    def count(self) -> int:
        """How many events."""
        return sum(map(len, self.seqs.values()))

    def add(self, token: str, frame: dict[str, Any]) -> None:
        """Notes a frame, and the place behind it."""
        self.token = token
        for batch in frame.get("events", {}).get("batches", []):
            for event in batch["events"]:
                self.seqs.setdefault(batch.get("shard", 0), []).append(int(event["seq"]))
                self.versions.setdefault(event["orderId"], []).append(int(event["version"]))

    def check(self) -> None:
        """Every seq of every shard from the first on, once, in sequence; and so each order's versions."""
        for numbers in (*self.seqs.values(), *self.versions.values()):
            assert numbers == list(range(1, len(numbers) + 1))


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event."""

    kind: str
    token: str
    data: Any


async def server_sent(
    http: httpx.AsyncClient, query: str = "", headers: dict[str, str] | None = None
) -> AsyncGenerator[Event, None]:
    """The events of a stream; a comment is one of the kind `comment`, `retry` of that name."""
    async with http.stream("GET", f"/v1/events?{query}", headers={**SSE, **(headers or {})}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                yield Event("comment", "", line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "retry" in fields:
                    yield Event("retry", "", int(fields["retry"]))
                if "data" in fields:
                    yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
                fields = {}


async def read_events(http: httpx.AsyncClient, seen: Seen, count: int, query: str = "start=EARLIEST") -> None:
    """Reads server-sent events until so many have been seen; goes on where it stands, as a browser would."""
    headers = {"last-event-id": seen.token} if seen.token else {}
    async with asyncio.timeout(_SECONDS), aclosing(server_sent(http, query, headers)) as events:
        async for event in events:
            if event.token:
                seen.add(event.token, event.data)
            if seen.count >= count:
                return


@asynccontextmanager
async def socket_of(http: httpx.AsyncClient, **options: Any) -> AsyncGenerator[ClientConnection, None]:  # noqa: ANN401 - any option
    """A WebSocket of the gateway."""
    url = f"ws://{http.base_url.host}:{http.base_url.port}/v1/stream"
    async with connect(url, max_size=None, proxy=None, **options) as socket:
        yield socket


async def say(socket: ClientConnection, token: str = "", **frame: Any) -> None:  # noqa: ANN401 - any frame
    """Sends one frame."""
    await socket.send(json.dumps({"frame": frame, **({"token": token} if token else {})}))


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message with a frame of the kind; those before it are passed over."""
    async with asyncio.timeout(_SECONDS):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if kind in message.get("frame", message):
                return message


async def read_socket(http: httpx.AsyncClient, seen: Seen, count: int) -> None:
    """Reads a WebSocket until so many events have been seen; goes on where it stands."""
    async with asyncio.timeout(_SECONDS), socket_of(http) as socket:
        opening = {} if seen.token else {"start": {"point": "START_POINT_EARLIEST"}}
        await say(socket, seen.token, open={**opening, "credit": {"events": 1_000_000, "bytes": 1 << 40}})
        while seen.count < count:
            message = json.loads(await socket.recv())
            seen.add(message["token"], message["frame"])
