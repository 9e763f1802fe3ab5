"""A crowd of subscribers that hardly ever hear anything: many streams on few connections, none of which ends."""

import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final, Self

from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import BrokenError, Connection
from tests.bench.http2_load import STREAMS_MAX
from tests.bench.http2_readers import Messages, Reader, refuse_end

_SELECT_SECONDS: Final = 0.1
_STEP_SECONDS: Final = 0.01
_ANSWER_SECONDS: Final = 120.0


class Crowd:
    """So many streams, `STREAMS_MAX` a connection; a context, whose end closes them.

    Args:
        template: The call that opens each of them.
        address: `host:port`.
        streams: How many.
        hear: Is given each message of each stream; without it they are only counted.
    """

    def __init__(
        self, template: CallTemplate, address: str, *, streams: int, hear: Callable[[bytes], None] | None = None
    ) -> None:
        self._members: list[_Member] = []
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for first in range(0, streams, STREAMS_MAX):
                member = _Member(template, address, min(STREAMS_MAX, streams - first), hear)
                stack.enter_context(closing(member.connection))
                self._selector.register(member.connection, selectors.EVENT_READ, member)
                self._members.append(member)
                self._await_answered(member)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every stream."""
        self._stack.close()

    @contextmanager
    def joined_by(self, reader: Reader) -> Iterator[None]:
        """Reads what one more is sent, too, while the context lasts."""
        self._selector.register(reader.connection, selectors.EVENT_READ, reader)
        try:
            yield
        finally:
            self._selector.unregister(reader.connection)

    @property
    def messages(self) -> list[int]:
        """How many messages each stream was sent so far."""
        return [count for member in self._members for count in member.counts()]

    def _await_answered(self, member: "_Member") -> None:
        """A server turns away who comes while a thousand others wait to be let in."""
        deadline = time.perf_counter() + _ANSWER_SECONDS
        while not all(member.counts()):
            if time.perf_counter() > deadline:
                raise BrokenError(f"a stream has heard nothing for {_ANSWER_SECONDS:.0f} s")
            self.run(_STEP_SECONDS)

    def run(self, seconds: float) -> None:
        """Reads for so long.

        Raises:
            BrokenError: A stream or a connection has ended.
        """
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for key, _ in self._selector.select(_SELECT_SECONDS):
                key.data.receive()


class _Member:
    """One connection, and its streams."""

    def __init__(
        self, template: CallTemplate, address: str, streams: int, hear: Callable[[bytes], None] | None
    ) -> None:
        self.connection = Connection(address, self)
        self._streams = {2 * number + 1: Messages(hear) for number in range(streams)}
        for stream in self._streams:
            template.append_to(self.connection.out, stream)
        self.connection.flush()

    def counts(self) -> Iterator[int]:
        return (messages.count for messages in self._streams.values())

    def receive(self) -> None:
        self.connection.receive()
        self.connection.flush()

    def on_data(self, stream: int, payload: memoryview) -> None:
        self._streams[stream].take(payload)

    def on_headers(self, stream: int, flags: int, block: bytes) -> None:
        refuse_end(stream, flags, block)

    def on_reset(self, stream: int, code: int) -> None:
        raise BrokenError(f"stream {stream} was reset with code {code}")
