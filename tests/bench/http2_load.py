"""Unary calls in a closed loop: so many callers, each of whom calls again as soon as it is answered."""

import selectors
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from typing import Final, Self

from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import END_STREAM, BrokenError, Connection

STREAMS_MAX: Final = 100  # of our servers, per connection
_OK: Final = b"\x0bgrpc-status\x010"  # as in the trailers: name and value behind their lengths
_SELECT_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of the calls that ended within a stretch of time.

    Attributes:
        replies: Calls answered with a message and status OK.
        errors: Calls that ended in any other way.
        first_error: What the first of those was.
        seconds: How long it was.
    """

    replies: int
    errors: int
    first_error: str
    seconds: float


class Callers:
    """The callers of one connection. Each calls again as soon as it is answered, unless `again` is false."""

    def __init__(self, template: CallTemplate, address: str, callers: int, *, again: bool = True) -> None:
        if callers > STREAMS_MAX:
            raise ValueError(f"{callers} callers on one connection; the server takes {STREAMS_MAX}")
        self.connection = Connection(address, self)
        self.replies = 0
        self.errors = 0
        self.first_error = ""
        self._template = template
        self._streams = count(1, 2)
        self._received: dict[int, int] = {}  # bytes, by stream of each call that is not yet answered
        self._waiting = callers  # to call
        self._again = again
        self._calling = True

    @property
    def outstanding(self) -> int:
        """Calls not yet answered."""
        return len(self._received)

    @property
    def waiting(self) -> int:
        """Callers who have not called yet."""
        return self._waiting

    def join(self, callers: int) -> None:
        """So many more callers wait to call; nobody does before the next `call`."""
        self._waiting += callers

    def call(self) -> None:
        """Lets everyone who waits call, as far as the server's window allows."""
        connection, size = self.connection, self._template.window_bytes
        while self._waiting and self._calling and connection.window >= size:
            stream = next(self._streams)
            self._template.append_to(connection.out, stream)
            self._received[stream] = 0
            connection.window -= size
            self._waiting -= 1
        connection.flush()

    def stop(self) -> None:
        """Nobody calls again."""
        self._calling = False

    def lose(self, why: str) -> None:
        """Counts every outstanding call as an error; nobody calls again."""
        self.stop()
        for _ in range(max(1, self.outstanding)):
            self._fail(why)
        self._received.clear()

    def on_data(self, stream: int, payload: memoryview) -> None:
        """See `Streams`."""
        if stream in self._received:
            self._received[stream] += len(payload)

    def on_headers(self, stream: int, flags: int, block: bytes) -> None:
        """See `Streams`: the trailers end a call."""
        received = self._received.pop(stream, None) if flags & END_STREAM else None
        if received is None:
            return
        self._waiting += self._again
        if received and _OK in block:
            self.replies += 1
        else:
            self._fail(f"{received} bytes, then {block!r}")

    def on_reset(self, stream: int, code: int) -> None:
        """See `Streams`. After a whole reply it says nothing more than that the server is done."""
        if self._received.pop(stream, None) is not None:
            self._waiting += self._again
            self._fail(f"RST_STREAM with code {code}")

    def _fail(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why


class Load:
    """`callers` on a few connections to one server; a context, whose end closes them.

    Args:
        template: What they call.
        address: `host:port`.
        callers: How many calls are under way at once, on all connections together.
        connections: How many connections they share evenly.
    """

    def __init__(self, template: CallTemplate, address: str, *, callers: int, connections: int) -> None:
        each, rest = divmod(callers, connections)
        self._groups: list[Callers] = []
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for number in range(connections):
                group = Callers(template, address, each + (number < rest))
                stack.enter_context(closing(group.connection))
                self._selector.register(group.connection, selectors.EVENT_READ, group)
                self._groups.append(group)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> Tally:
        """Calls for so long, and counts the calls that end meanwhile; those under way go on in the next run."""
        before = self._count()
        started = time.perf_counter()
        for key in list(self._selector.get_map().values()):
            self._serve(key.data, arrived=False)
        self._drive(started + seconds)
        return self._since(before, started)

    def finish(self, seconds_max: float) -> Tally:
        """Waits for the calls under way; those that are not answered in time count as errors. Nobody calls again."""
        before = self._count()
        started = time.perf_counter()
        for group in self._groups:
            group.stop()
        self._drive(started + seconds_max, until_answered=True)
        for group in self._groups:
            if group.outstanding:
                group.lose(f"no answer within {seconds_max} s")
        return self._since(before, started)

    def _drive(self, deadline: float, *, until_answered: bool = False) -> None:
        while time.perf_counter() < deadline and self._selector.get_map():
            if until_answered and not any(group.outstanding for group in self._groups):
                return
            for key, _ in self._selector.select(_SELECT_SECONDS):
                self._serve(key.data, arrived=True)

    def _serve(self, group: Callers, *, arrived: bool) -> None:
        try:
            if arrived:
                group.connection.receive()
            group.call()
        except BrokenError as error:
            group.lose(str(error))
            self._selector.unregister(group.connection)

    def _count(self) -> tuple[int, int]:
        return sum(group.replies for group in self._groups), sum(group.errors for group in self._groups)

    def _since(self, before: tuple[int, int], started: float) -> Tally:
        replies, errors = self._count()
        return Tally(
            replies=replies - before[0],
            errors=errors - before[1],
            first_error=next((group.first_error for group in self._groups if group.first_error), ""),
            seconds=time.perf_counter() - started,
        )
