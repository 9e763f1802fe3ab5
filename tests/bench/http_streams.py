"""A hundred readers of server-sent events, and of WebSockets, against a bare Starlette that writes the same bytes."""

import base64
import json
import selectors
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from websockets.sync.client import connect

from tests.bench.effort import Effort
from tests.bench.events import SHARDS
from tests.bench.fanout import await_filled
from tests.bench.processes import BenchError, Server, free_address, run_server
from tests.bench.report import Comparison, Outcome, Reading
from tests.bench.rounds import Contender, alternate, figures

READERS: Final = 100
_EVENTS_PER_SHARD: Final = 12_000  # nobody reads as many within a round
_EVENT: Final = '"seq":'
_READ_BYTES: Final = 262_144
_SELECT_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 20.0
Opening = Callable[[str], tuple[socket.socket, bytes]]
"""A connection to an address, and what asks for the stream on it."""

_OPEN: Final = {"start": {"point": "START_POINT_EARLIEST"}, "credit": {"events": "1000000000", "bytes": str(1 << 50)}}


def http_streams(folder: Path, effort: Effort) -> dict[str, Outcome]:
    """CPU of the Sync Server per event that is delivered, for each kind of stream.

    Raises:
        BenchError: A server did not start, or sent something other than what was asked.
    """
    http = free_address()
    ours_options = ("--events-per-shard", str(_EVENTS_PER_SHARD), "--http-address", http)
    outcomes: dict[str, Outcome] = {}
    with run_server("tests.bench.fanout_server", ours_options, folder / "sync.log") as ours:
        await_filled(ours.address, _EVENTS_PER_SHARD)
        for name, opening, texts in (("sse", _sse, _sse_texts), ("ws", _socket, _socket_texts)):
            frames, file = _frames(texts(http)), folder / name
            file.write_text(json.dumps(frames))
            bytes_per_event = len("".join(frames).encode()) / (SHARDS * _EVENTS_PER_SHARD)
            with run_server("tests.bench.reference_http", ("--frames", str(file)), folder / f"{name}.log") as bare:
                samples = alternate(
                    _contender("bare", bare, bare.address, opening, bytes_per_event),
                    _contender("ours", ours, http, opening, bytes_per_event),
                    rounds=effort.rounds,
                    seconds=effort.seconds,
                )
            compared = Comparison(unit="delivered event", reference=samples[0], ours=samples[1])
            outcomes[f"{name}_100_cpu_ratio"] = compared
            outcomes[f"{name}_100_deliveries_per_s"] = Reading(
                value=figures(samples[1]).units_per_second,
                unit="events/s",
                goal=None,
                more_is_better=True,
                rests_on={"bare": round(figures(samples[0]).units_per_second), "readers": READERS},
            )
    return outcomes


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS)


def _sse(address: str) -> tuple[socket.socket, bytes]:
    head = f"GET /v1/events HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    return _connect(address), head.encode()


def _socket(address: str) -> tuple[socket.socket, bytes]:
    connection = _connect(address)
    key = base64.b64encode(bytes(16)).decode()
    head = (
        f"GET /v1/stream HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    )
    connection.sendall(head.encode())
    connection.recv(_READ_BYTES)  # nothing may be said before the server has agreed
    text = json.dumps({"frame": {"open": _OPEN}}).encode()
    return connection, struct.pack(">BBH", 0x81, 0x80 | 126, len(text)) + bytes(4) + text  # masked with zeros


def _sse_texts(address: str) -> Generator[str, None, None]:
    """What a stream of server-sent events says, event by event."""
    said = ""
    with httpx.stream("GET", f"http://{address}/v1/events", timeout=_CONNECT_SECONDS) as answer:
        for part in answer.iter_text():
            *texts, said = (said + part).split("\n\n")
            yield from (f"{text}\n\n" for text in texts)


def _socket_texts(address: str) -> Generator[str, None, None]:
    """What a WebSocket says, message by message."""
    with connect(f"ws://{address}/v1/stream", max_size=None, proxy=None) as stream:
        stream.send(json.dumps({"frame": {"open": _OPEN}}))
        yield from map(str, stream)


def _frames(texts: Generator[str, None, None]) -> list[str]:
    """The texts with events, up to the log's end."""
    frames: list[str] = []
    missing = SHARDS * _EVENTS_PER_SHARD
    while missing > 0:
        text = next(texts)
        if _EVENT in text:
            frames.append(text)
            missing -= text.count(_EVENT)
    texts.close()
    return frames


@dataclass(slots=True)
class _Deliveries:
    """Readers that count bytes; what an event takes of those is known from the frames."""

    selector: selectors.BaseSelector
    bytes_per_event: float

    def run(self, seconds: float) -> int:
        """Events delivered within the next `seconds`."""
        received = 0
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for key, _ in self.selector.select(_SELECT_SECONDS):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                said = connection.recv(_READ_BYTES)
                if not said:
                    raise BenchError("a stream ended")
                received += len(said)
        if not received:
            raise BenchError(f"no reader was sent anything within {seconds} s")
        return round(received / self.bytes_per_event)


def _contender(name: str, server: Server, address: str, opening: Opening, bytes_per_event: float) -> Contender:
    return Contender(name, server.cpu_seconds, partial(_open_load, address, opening, bytes_per_event))


@contextmanager
def _open_load(address: str, opening: Opening, bytes_per_event: float) -> Iterator[_Deliveries]:
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        opened = [opening(address) for _ in range(READERS)]
        for connection, _ in opened:
            selector.register(stack.enter_context(connection), selectors.EVENT_READ)
        # Asked one by one, the first streams would have filled megabytes of buffers before anybody read them.
        for connection, question in opened:
            connection.sendall(question)
        selector.select(_CONNECT_SECONDS)  # on a busy machine the first bytes take their time
        yield _Deliveries(selector, bytes_per_event)
