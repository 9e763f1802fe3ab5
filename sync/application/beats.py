"""Wakes streams when they are due: those that are due in the same step share one timer."""

import asyncio
from collections.abc import Callable

Wake = Callable[[], None]


class Beats:
    """The alarms of every stream. Ten thousand streams need no more timers than there are steps in a heartbeat."""

    def __init__(self) -> None:
        self._waiting: dict[float, set[Wake]] = {}

    def at(self, due: float, wake: Wake) -> None:
        """Calls `wake` at `due`, by the loop's clock; once, however often it is asked to."""
        waiting = self._waiting.get(due)
        if waiting is None:
            waiting = self._waiting[due] = set()
            asyncio.get_running_loop().call_at(due, self._ring, due)
        waiting.add(wake)

    def forget(self, due: float, wake: Wake) -> None:
        """Takes back what was asked for `due`."""
        self._waiting.get(due, set()).discard(wake)

    def _ring(self, due: float) -> None:
        for wake in self._waiting.pop(due):
            wake()
