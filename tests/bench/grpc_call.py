"""gRPC calls as bytes that are made beforehand."""

import struct
from collections.abc import Iterator
from itertools import count
from typing import Final

from tests.bench.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    HEADERS,
    frame,
    header_block,
)

NUMBER: Final = "#" * 12  # stands in a message where each call writes its own number, in as many digits
PREFIX_BYTES: Final = 5  # before each message: a flag, and its length
_STREAM_ID_AT: Final = 5  # in a frame's header


class CallTemplate:
    """One method with one message, encoded once; only the number in it changes, from call to call.

    Args:
        authority: `host:port` of the server.
        method: Full name, such as "/package.Service/Method".
        message: The request. `NUMBER`, wherever it stands in it, becomes the call's number.
        deadline_seconds: Sent with each call; None for a stream that has no end.
        more_to_say: The caller's side of the stream stays open after the message.
        numbers: Of the calls; upwards from 0 when none are given.
    """

    def __init__(
        self,
        authority: str,
        method: str,
        message: bytes,
        *,
        deadline_seconds: int | None,
        more_to_say: bool = False,
        numbers: Iterator[int] | None = None,
    ) -> None:
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "stateset-bench"),
        ]
        if deadline_seconds is not None:
            headers.append(("grpc-timeout", f"{deadline_seconds}S"))
        head = frame(HEADERS, END_HEADERS, 0, header_block(headers))
        body = frame(DATA, 0 if more_to_say else END_STREAM, 0, struct.pack(">BI", 0, len(message)) + message)
        self.window_bytes = len(body) - FRAME_HEADER_BYTES
        if self.window_bytes > FRAME_BYTES_MAX:
            raise ValueError(f"a request of {len(message)} bytes does not fit one frame")
        self._packet = bytearray(head + body)
        self._stream_places = (_STREAM_ID_AT, len(head) + _STREAM_ID_AT)
        self._number_places = tuple(_places(head + body, NUMBER.encode()))
        self._numbers = count() if numbers is None else numbers

    def append_to(self, out: bytearray, stream: int) -> None:
        """Adds one more call to what is to be sent."""
        for place in self._stream_places:
            struct.pack_into(">I", self._packet, place, stream)
        digits = b"%012x" % next(self._numbers)
        for place in self._number_places:
            self._packet[place : place + len(digits)] = digits
        out += self._packet


def _places(packet: bytes, mark: bytes) -> Iterator[int]:
    place = packet.find(mark)
    while place >= 0:
        yield place
        place = packet.find(mark, place + len(mark))
