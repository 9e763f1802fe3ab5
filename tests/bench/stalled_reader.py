"""What a subscriber that has stopped reading holds in the server."""

import struct
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from tests.bench.effort import Effort
from tests.bench.events import EVENT_BYTES
from tests.bench.fanout import await_filled
from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import DATA, BrokenError, frame
from tests.bench.http2_readers import STREAM, Reader
from tests.bench.idle import SUBSCRIBE
from tests.bench.processes import BenchError, Server, run_server, unsent_bytes
from tests.bench.report import Reading
from tests.harness.memory import resident_bytes

EVENTS_PER_SHARD: Final = 10_000  # 36 MB in all: more than a connection and the kernel swallow
_CREDIT: Final = stream_pb2.Credit(events=100_000, bytes=256 * 1024)
_ALLOWED_BYTES: Final = _CREDIT.bytes + EVENT_BYTES + 64 * 1024
KERNEL_BYTES_MAX: Final = 4_096  # at the reader's end, which is another machine's
_READERS: Final = 100
_REST_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 1.0
_RESTING_BYTES: Final = 64 * 1024  # of all readers together: less is the server's other business


def stalled_reader(folder: Path, effort: Effort) -> Mapping[str, Reading]:
    """Bytes for a reader that was granted credit, opened all of HTTP/2's windows, and reads nothing.

    That is what the process grows by when many of them, open already, are granted credit; and what then waits in the
    kernel.

    Raises:
        BenchError: The server does not come to rest, or the readers' credit fits into their sockets.
    """
    del effort  # memory is the same however often it is looked at
    ring = ("--events-per-shard", str(EVENTS_PER_SHARD))
    with run_server("tests.bench.fanout_server", ring, folder / "sync.log") as server, ExitStack() as stack:
        await_filled(server.address, EVENTS_PER_SHARD)
        try:
            readers = [_opened(server.address, stack) for _ in range(_READERS)]
            before = _at_rest(server)
            for reader in readers:
                reader.connection.out += _said(stream_pb2.ClientFrame(credit=_CREDIT))
                reader.connection.flush()
            _await_unsent(server)
            held = _at_rest(server) - before
        except BrokenError as error:
            raise BenchError(f"a reader's stream broke: {error}") from error
        unsent = unsent_bytes(server.address)
    return {
        "stalled_reader_bytes": Reading(
            value=held / _READERS,
            unit="bytes",
            goal=_ALLOWED_BYTES,
            more_is_better=False,
            rests_on={
                "readers": _READERS,
                "credit_bytes": _CREDIT.bytes,
                "group_bytes": EVENT_BYTES,
                "of_them_in_the_kernel": round(unsent / _READERS),
            },
        )
    }


def _opened(address: str, stack: ExitStack) -> Reader:
    """A reader that has read whatever needs no credit."""
    opening = stream_pb2.Open(start=stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST), credit=stream_pb2.Credit())
    opening.heartbeat_interval.FromSeconds(60)
    request = sync_service_pb2.SubscribeRequest(frame=stream_pb2.ClientFrame(open=opening)).SerializeToString()
    template = CallTemplate(address, SUBSCRIBE, request, deadline_seconds=None, more_to_say=True)
    reader = Reader(template, address, kernel_bytes_max=KERNEL_BYTES_MAX)
    stack.enter_context(closing(reader.connection))
    while reader.messages.count < len(("opened", "catching up")):
        reader.receive()
    return reader


def _said(client_frame: stream_pb2.ClientFrame) -> bytes:
    message = sync_service_pb2.SubscribeRequest(frame=client_frame).SerializeToString()
    return frame(DATA, 0, STREAM, struct.pack(">BI", 0, len(message)) + message)


def _await_unsent(server: Server) -> None:
    deadline = time.perf_counter() + _REST_SECONDS
    while not unsent_bytes(server.address):
        if time.perf_counter() > deadline:
            raise BenchError("nothing waits for the readers that were to stall")
        time.sleep(_STEP_SECONDS)


def _at_rest(server: Server) -> int:
    """What the server and the kernel hold, once that changes no more."""
    deadline = time.perf_counter() + _REST_SECONDS
    before = 0
    while time.perf_counter() < deadline:
        now = resident_bytes(server.pid) + unsent_bytes(server.address)
        if abs(now - before) <= _RESTING_BYTES:
            return now
        before = now
        time.sleep(_STEP_SECONDS)
    raise BenchError(f"the server's memory still changes after {_REST_SECONDS:.0f} s")
