"""Just enough HTTP/2 for a gRPC client that costs far less than the server which it loads.

Replies are read frame by frame and hardly looked into; requests are bytes that were made beforehand. No Huffman coding
and no header table: the server is told that ours has no room, so that it sends its trailers as plain text.
"""

import socket
import struct
from collections.abc import Sequence
from typing import Final, Protocol

DATA: Final = 0x0
HEADERS: Final = 0x1
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4

FRAME_HEADER_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16_384  # the protocol's default, which a server may always be sent
GRANT_BYTES: Final = 1 << 28  # read before the window is opened again: seldom, and well before it closes

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER_TABLE_SIZE: Final = 0x1
_INITIAL_WINDOW_SIZE: Final = 0x4
_WINDOW_BYTES_MAX: Final = (1 << 31) - 1
_WINDOW_BYTES_DEFAULT: Final = 65_535
_BUFFER_BYTES: Final = 1 << 20
_LITERAL_BYTES_MAX: Final = 126  # a longer one's length would take a second byte
_SOCKET_SECONDS: Final = 10.0
_FRAME_HEADER: Final = struct.Struct(">IBI")  # length and kind share the first word


class BrokenError(Exception):
    """The connection can no longer be used."""


class Streams(Protocol):
    """What a connection reports while it receives. None of the calls may raise but for BrokenError."""

    def on_headers(self, stream: int, flags: int, block: bytes) -> None:
        """Headers or trailers arrived."""

    def on_data(self, stream: int, payload: memoryview) -> None:
        """A part of a message arrived; the view is valid during the call only."""

    def on_reset(self, stream: int, code: int) -> None:
        """The server broke the stream off."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return _FRAME_HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """An HPACK block that needs no state: literals without indexing."""
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers)


class Connection:
    """A client's end of one connection. Whoever owns it waits for its socket and calls `receive`, then `flush`.

    Args:
        address: `host:port`.
        streams: Who is told of what arrives.
        kernel_bytes_max: What the kernel may keep of what is not received; as much as it likes if not given.
    """

    def __init__(self, address: str, streams: Streams, *, kernel_bytes_max: int | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.socket()
        self._socket.settimeout(_SOCKET_SECONDS)
        if kernel_bytes_max is not None:  # before it connects, as the peer is told of it then
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_bytes_max)
        self._socket.connect((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams = streams
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._held = 0
        self._granted = 0
        self.window = _WINDOW_BYTES_DEFAULT
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _WINDOW_BYTES_MAX)
        self.out = bytearray(_PREFACE + frame(SETTINGS, 0, 0, settings))
        self.grant(0, _WINDOW_BYTES_MAX - _WINDOW_BYTES_DEFAULT)

    def fileno(self) -> int:
        """The socket's, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Ends the connection and every call on it."""
        self._socket.close()

    def flush(self) -> None:
        """Sends what was put into `out`.

        Raises:
            BrokenError: The server does not take it.
        """
        if self.out:
            try:
                self._socket.sendall(self.out)
            except OSError as error:
                raise BrokenError(f"cannot send: {error}") from error
            self.out.clear()

    def grant(self, stream: int, size: int) -> None:
        """Lets the server send `size` more bytes on the stream; on 0, on the connection."""
        self.out += frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))

    def receive(self) -> None:
        """Reads what has arrived and reports it, whole frames only; the rest waits for the next call.

        Raises:
            BrokenError: The server has closed the connection, or is about to.
        """
        try:
            size = self._socket.recv_into(self._view[self._held :])
        except OSError as error:
            raise BrokenError(f"cannot receive: {error}") from error
        if not size:
            raise BrokenError("closed by the server")
        end = self._held + size
        rest = self._report(end)
        self._held = end - rest
        self._view[: self._held] = bytes(self._view[rest:end])

    def _report(self, end: int) -> int:
        """Reports the whole frames among the first `end` bytes; returns where the first that is not whole begins."""
        start = 0
        while end - start >= FRAME_HEADER_BYTES:
            word, flags, stream = _FRAME_HEADER.unpack_from(self._buffer, start)
            payload = start + FRAME_HEADER_BYTES
            after = payload + (word >> 8)
            if after > end:
                break
            kind = word & 0xFF
            if kind == DATA:
                self._count(after - payload)
                self._streams.on_data(stream, self._view[payload:after])
            elif kind == HEADERS:
                self._streams.on_headers(stream, flags, bytes(self._view[payload:after]))
            else:
                self._control(kind, flags, stream, bytes(self._view[payload:after]))
            start = after
        return start

    def _count(self, size: int) -> None:
        self._granted += size
        if self._granted >= GRANT_BYTES:
            self.grant(0, self._granted)
            self._granted = 0

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.out += frame(kind, ACK, 0, payload if kind == PING else b"")
        elif kind == WINDOW_UPDATE and stream == 0:
            self.window += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self._streams.on_reset(stream, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            raise BrokenError(f"GOAWAY: {payload[8:].decode(errors='replace') or int.from_bytes(payload[4:8], 'big')}")


def _literal(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > _LITERAL_BYTES_MAX:
        raise ValueError(f"too long for a header here: {text}")
    return bytes([len(encoded)]) + encoded
