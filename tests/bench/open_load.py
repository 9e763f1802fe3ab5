"""Callers who come at a rate whatever becomes of those before them, on many connections; nobody comes twice."""

import selectors
import time
from contextlib import ExitStack, closing
from itertools import cycle
from typing import Final, Self

from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_load import STREAMS_MAX, Callers, Tally
from tests.bench.processes import BenchError

_CALLS_MAX: Final = (
    STREAMS_MAX // 2
)  # under way per connection: the server counts a call as ended later than its caller
_TICK_SECONDS: Final = 0.002  # what falls due within one is called together


class OpenLoad:
    """A crowd that does not wait for the server; a context, whose end closes the connections.

    A caller who finds every connection full goes away unheard, as one would whose own channel holds the call back.

    Args:
        template: What they call.
        address: `host:port` of the server.
        per_second: How many come.
        connections: How many connections they share.
    """

    def __init__(self, template: CallTemplate, address: str, *, per_second: int, connections: int) -> None:
        self._per_second = per_second
        self._groups: list[Callers] = []
        self.unheard = 0
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for _ in range(connections):
                group = Callers(template, address, 0, again=False)
                stack.enter_context(closing(group.connection))
                self._selector.register(group.connection, selectors.EVENT_READ, group)
                self._groups.append(group)
            self._stack = stack.pop_all()
        self._turns = cycle(self._groups)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> Tally:
        """Has them come for so long; the tally of the calls that ended meanwhile.

        Raises:
            BenchError: A connection broke.
        """
        replies, errors = self._count()
        started, came = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            due = int(elapsed * self._per_second) - came
            came += due
            for _ in range(due):
                self._come()
            try:
                for group in self._groups:
                    group.call()
                for key, _ in self._selector.select(_TICK_SECONDS):
                    key.data.connection.receive()
            except BrokenError as error:
                raise BenchError(f"the connection broke: {error}") from error
        now_replies, now_errors = self._count()
        first_error = next((group.first_error for group in self._groups if group.first_error), "")
        return Tally(
            replies=now_replies - replies,
            errors=now_errors - errors,
            first_error=first_error,
            seconds=time.perf_counter() - started,
        )

    def _come(self) -> None:
        for _ in self._groups:
            group = next(self._turns)
            if group.outstanding + group.waiting < _CALLS_MAX:
                group.join(1)
                return
        self.unheard += 1

    def _count(self) -> tuple[int, int]:
        return sum(group.replies for group in self._groups), sum(group.errors for group in self._groups)
