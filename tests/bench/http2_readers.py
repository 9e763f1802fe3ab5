"""Subscribers that only count: each opens one server stream on a connection of its own and reads what it is sent."""

import selectors
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Final, Self

from tests.bench.grpc_call import PREFIX_BYTES, CallTemplate
from tests.bench.http2 import END_STREAM, GRANT_BYTES, BrokenError, Connection

STREAM: Final = 1
_SELECT_SECONDS: Final = 0.1


class Messages:
    """The messages of one stream, as they arrive in parts.

    Args:
        hear: Is given each message once it is whole; without it they are only counted.
    """

    def __init__(self, hear: Callable[[bytes], None] | None = None) -> None:
        self.count = 0
        self.hear = self._told = hear
        self._prefix = bytearray()
        self._body = bytearray()
        self._due = 0  # bytes of the current message

    def take(self, payload: memoryview) -> None:
        """Goes on with the next part of the stream."""
        while payload:
            payload = self._go_on(payload) if self._due else self._begin(payload)

    def _begin(self, payload: memoryview) -> memoryview:
        """Takes a message's prefix, or what is here of it; returns the rest."""
        missing = PREFIX_BYTES - len(self._prefix)
        self._prefix += payload[:missing]
        if len(self._prefix) == PREFIX_BYTES:
            self._due = int.from_bytes(self._prefix[1:], "big")
            self._prefix.clear()
            self.count += 1
            self._body.clear()
            self._told = self.hear  # not of a message that has begun before anybody asked
            if not self._due:
                self._tell()
        return payload[missing:]

    def _go_on(self, payload: memoryview) -> memoryview:
        """Takes a message's bytes, or what is here of them; returns the rest."""
        taken = min(self._due, len(payload))
        self._due -= taken
        if self._told is not None:
            self._body += payload[:taken]
            if not self._due:
                self._tell()
        return payload[taken:]

    def _tell(self) -> None:
        if self._told is not None:
            self._told(bytes(self._body))


class Reader:
    """One subscriber. Its stream is to go on for ever; an end of it is a BrokenError."""

    def __init__(self, template: CallTemplate, address: str, *, kernel_bytes_max: int | None = None) -> None:
        self.connection = Connection(address, self, kernel_bytes_max=kernel_bytes_max)
        self.messages = Messages()
        self.payload_bytes = 0
        self._granted = 0
        template.append_to(self.connection.out, STREAM)
        self.connection.flush()

    def receive(self) -> None:
        """Counts what has arrived."""
        self.connection.receive()
        self.connection.flush()

    def on_data(self, stream: int, payload: memoryview) -> None:
        """See `Streams`."""
        size = len(payload)
        self.payload_bytes += size
        self._granted += size
        if self._granted >= GRANT_BYTES:
            self.connection.grant(stream, self._granted)
            self._granted = 0
        self.messages.take(payload)

    def on_headers(self, stream: int, flags: int, block: bytes) -> None:
        """See `Streams`: trailers are an error."""
        refuse_end(stream, flags, block)

    def on_reset(self, stream: int, code: int) -> None:
        """See `Streams`."""
        raise BrokenError(f"stream {stream} was reset with code {code}")


def refuse_end(stream: int, flags: int, block: bytes) -> None:
    """Makes the end of a stream that is to go on an error.

    Raises:
        BrokenError: These headers are its trailers.
    """
    if flags & END_STREAM:
        raise BrokenError(f"stream {stream} ended: {block!r}")


class Readers:
    """So many subscribers of one stream; a context, whose end closes them."""

    def __init__(self, template: CallTemplate, address: str, *, readers: int) -> None:
        self._readers: list[Reader] = []
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for _ in range(readers):
                reader = Reader(template, address)
                stack.enter_context(closing(reader.connection))
                self._selector.register(reader.connection, selectors.EVENT_READ, reader)
                self._readers.append(reader)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def payload_bytes(self) -> list[int]:
        """What each was sent so far: messages and their prefixes."""
        return [reader.payload_bytes for reader in self._readers]

    @property
    def messages(self) -> list[int]:
        """How many messages each was sent so far; the last may still be under way."""
        return [reader.messages.count for reader in self._readers]

    def run(self, seconds: float) -> None:
        """Reads for so long.

        Raises:
            BrokenError: One of them is sent nothing more.
        """
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for key, _ in self._selector.select(_SELECT_SECONDS):
                key.data.receive()

    def sample(self, seconds: float) -> list[list[bytes]]:
        """Reads for so long; returns the whole messages that each was sent meanwhile, from the first that began."""
        samples: list[list[bytes]] = [[] for _ in self._readers]
        for reader, sample in zip(self._readers, samples, strict=True):
            reader.messages.hear = sample.append
        self.run(seconds)
        for reader in self._readers:
            reader.messages.hear = None
        return samples
