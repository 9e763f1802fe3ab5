"""Subscribers that only count: each opens one server stream on a connection of its own and reads what it is sent."""

import selectors
import time
from contextlib import ExitStack, closing
from typing import Final, Self

from tests.bench.grpc_call import PREFIX_BYTES, CallTemplate
from tests.bench.http2 import END_STREAM, GRANT_BYTES, BrokenError, Connection

_STREAM: Final = 1
_SELECT_SECONDS: Final = 0.1


class Reader:
    """One subscriber. Its stream is to go on for ever; an end of it is a BrokenError."""

    def __init__(self, template: CallTemplate, address: str) -> None:
        self.connection = Connection(address, self)
        self.messages = 0
        self.payload_bytes = 0
        self.kept: list[bytearray] | None = None
        self._prefix = bytearray()
        self._due = 0  # bytes of the current message
        self._granted = 0
        template.append_to(self.connection.out, _STREAM)
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
        while payload:
            payload = self._body(payload) if self._due else self._begin(payload)

    def on_headers(self, stream: int, flags: int, block: bytes) -> None:
        """See `Streams`: trailers are an error."""
        if flags & END_STREAM:
            raise BrokenError(f"stream {stream} ended: {block!r}")

    def on_reset(self, stream: int, code: int) -> None:
        """See `Streams`."""
        raise BrokenError(f"stream {stream} was reset with code {code}")

    def _begin(self, payload: memoryview) -> memoryview:
        """Takes a message's prefix, or what is here of it; returns the rest."""
        missing = PREFIX_BYTES - len(self._prefix)
        self._prefix += payload[:missing]
        if len(self._prefix) == PREFIX_BYTES:
            self._due = int.from_bytes(self._prefix[1:], "big")
            self._prefix.clear()
            self.messages += 1
            if self.kept is not None:
                self.kept.append(bytearray())
        return payload[missing:]

    def _body(self, payload: memoryview) -> memoryview:
        """Takes a message's bytes, or what is here of them; returns the rest."""
        taken = min(self._due, len(payload))
        self._due -= taken
        if self.kept:
            self.kept[-1] += payload[:taken]
        return payload[taken:]


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
        return [reader.messages for reader in self._readers]

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
        for reader in self._readers:
            reader.kept = []
        self.run(seconds)
        samples = [[bytes(message) for message in (reader.kept or [])[:-1]] for reader in self._readers]
        for reader in self._readers:
            reader.kept = None
        return samples
