"""Measures the open streams of durable subscriptions: for some by name, for all others together."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from sync.application.metrics import (
    SUBSCRIPTION_CREDIT_EVENTS,
    SUBSCRIPTION_LAG_EVENTS,
    SUBSCRIPTION_PARKED_EVENTS,
    SUBSCRIPTION_STREAMS,
    SUBSCRIPTION_UNACKED_EVENTS,
)
from sync.application.stream import Stream
from sync.domain.frames import Phase
from sync.domain.lag import Meter

OTHER: Final = "other"
_NAMES_MAX: Final = 50  # of subscriptions that are told apart: each is ten series
_PERIOD_SECONDS: Final = 5.0
_MEASURED_AT_ONCE: Final = 100  # streams, about a millisecond of the loop
_GAUGES: Final = (
    SUBSCRIPTION_LAG_EVENTS,
    SUBSCRIPTION_CREDIT_EVENTS,
    SUBSCRIPTION_UNACKED_EVENTS,
    SUBSCRIPTION_PARKED_EVENTS,
)


@dataclass(slots=True)
class _Sums:
    lag: int = 0
    credit: int = 0
    unacked: int = 0
    parked: int = 0
    phases: Counter[Phase] = field(default_factory=Counter)


class SubscriptionGauges:
    """Who is open first is told apart; a name is free for the next once no stream of it is open here."""

    def __init__(self, streams: Callable[[], Collection[Stream]], meter: Meter, *, names_max: int = _NAMES_MAX) -> None:
        """Makes them.

        Args:
            streams: The open streams.
            meter: Measures their lag.
            names_max: How many subscriptions are told apart.
        """
        self._streams = streams
        self._meter = meter
        self._names_max = names_max
        self._names: set[str] = set()

    async def run(self) -> None:
        """Measures every few seconds until it is canceled."""
        while True:
            await self.measure()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def measure(self) -> None:
        """Measures once, and lets others have their turn meanwhile."""
        named = [(stream.key.name, stream) for stream in self._streams() if stream.key is not None]
        self._choose({name for name, _ in named})
        sums: dict[str, _Sums] = {OTHER: _Sums()}
        for start in range(0, len(named), _MEASURED_AT_ONCE):
            for name, stream in named[start : start + _MEASURED_AT_ONCE]:
                label = name if name in self._names else OTHER
                self._add(stream, sums.setdefault(label, _Sums()))
            await asyncio.sleep(0)
        for label, each in sums.items():
            _set(label, each)

    def _choose(self, names: set[str]) -> None:
        for gone in self._names - names:
            _forget(gone)
        self._names &= names
        self._names |= set(sorted(names - self._names)[: self._names_max - len(self._names)])

    def _add(self, stream: Stream, sums: _Sums) -> None:
        lag = self._meter.timeless(stream.session.standing)
        sums.lag += lag.events
        sums.credit += max(0, lag.credit_left.events) if lag.credit_left is not None else 0
        sums.unacked += lag.unacked
        sums.parked += lag.parked
        sums.phases[stream.session.phase] += 1


def _set(label: str, sums: _Sums) -> None:
    for gauge, value in zip(_GAUGES, (sums.lag, sums.credit, sums.unacked, sums.parked), strict=True):
        gauge.labels(label).set(value)
    for phase in Phase:
        SUBSCRIPTION_STREAMS.labels(label, phase).set(sums.phases[phase])


def _forget(label: str) -> None:
    for gauge in _GAUGES:
        gauge.remove(label)
    for phase in Phase:
        SUBSCRIPTION_STREAMS.remove(label, phase)
