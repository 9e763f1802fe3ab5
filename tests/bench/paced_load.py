"""Unary calls at a rate, whether or not earlier ones have been answered."""

import select
import time
from types import TracebackType
from typing import Final, Self

from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_load import STREAMS_MAX, Callers
from tests.bench.processes import BenchError

_TICK_SECONDS: Final = 0.001  # what falls due within one is called together
_CALLS_MAX: Final = STREAMS_MAX // 2  # under way at once: the server counts a call as ended later than its caller does


class PacedLoad:
    """Callers who come one after the other, each with one call, on one connection; a context, whose end closes it.

    A server that falls behind finds them waiting: at most so many calls are under way at once.

    Args:
        template: What they call.
        address: `host:port`.
        per_second: How many come.
    """

    def __init__(self, template: CallTemplate, address: str, *, per_second: int) -> None:
        self._callers = Callers(template, address, 0, again=False)
        self._per_second = per_second

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._callers.connection.close()

    def run(self, calls: int, *, stall_seconds: float) -> float:
        """Makes so many calls, and waits until the last is answered; returns how many seconds it took in all.

        Raises:
            BenchError: A call failed, or for so long none was answered.
        """
        callers, answered, came = self._callers, 0, 0
        before, started = callers.replies, time.perf_counter()
        moved = started
        while answered < calls:
            now = time.perf_counter()
            if now > moved + stall_seconds:
                raise BenchError(f"{calls - answered} calls of {calls} are not answered, none for {now - moved:.0f} s")
            arrivals = min(calls, int((now - started) * self._per_second), answered + _CALLS_MAX) - came
            came += arrivals
            self._turn(arrivals)
            if callers.replies - before > answered:
                answered, moved = callers.replies - before, now
        return time.perf_counter() - started

    def _turn(self, arrivals: int) -> None:
        connection = self._callers.connection
        try:
            self._callers.join(arrivals)
            self._callers.call()
            if select.select([connection], [], [], _TICK_SECONDS)[0]:
                connection.receive()
        except BrokenError as error:
            raise BenchError(f"the connection broke: {error}") from error
        if self._callers.errors:
            raise BenchError(f"{self._callers.errors} calls failed: {self._callers.first_error}")
