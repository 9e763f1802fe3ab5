"""Pauses a subscription whose outcomes are mostly RETRY: what it stands on is down, and more events would not help."""

from collections import deque
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to pause, and for how long.

    Attributes:
        outcomes: How many of the recent outcomes are looked at; fewer decide nothing.
        retries_percent_max: A larger share of RETRY among them pauses.
        pause_seconds: The first pause. Each that follows without success is twice as long.
        pause_seconds_max: The longest.
    """

    outcomes: int = 20
    retries_percent_max: int = 50
    pause_seconds: float = 1.0
    pause_seconds_max: float = 60.0


class Breaker:
    """Whether events may be sent. After a pause one may, to try; its outcome decides.

    Attributes:
        paused: The subscription is paused, or tries whether it can go on.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self.paused = False
        self._policy = policy
        self._recent: deque[bool] = deque(maxlen=policy.outcomes)
        self._pause_seconds = policy.pause_seconds
        self._until = -inf
        self._trying = False

    def room(self, now: float) -> float:
        """How many events may be sent now."""
        if not self.paused:
            return inf
        return 1 if now >= self._until and not self._trying else 0

    def due(self, now: float) -> float:
        """When one more event may be sent, if that is not now."""
        return self._until if self.paused and now < self._until else inf

    def sent(self) -> None:
        """Something was sent."""
        self._trying = self.paused

    def lost_try(self) -> None:
        """What was sent to try will have no outcome: the next one tries."""
        self._trying = False

    def saw(self, now: float, *, retry: bool) -> None:
        """Takes in an outcome."""
        self._recent.append(retry)
        if self.paused:
            self._decide(now, retry=retry)
        elif len(self._recent) == self._policy.outcomes and self._retries_percent > self._policy.retries_percent_max:
            self.pause(now)

    def pause(self, now: float) -> None:
        """Pauses, for longer if it is a pause already."""
        if self.paused:
            self._pause_seconds = min(2 * self._pause_seconds, self._policy.pause_seconds_max)
        self.paused, self._trying = True, False
        self._until = now + self._pause_seconds

    def _decide(self, now: float, *, retry: bool) -> None:
        if not retry:
            self.paused = self._trying = False
            self._pause_seconds = self._policy.pause_seconds
            self._recent.clear()
        elif self._trying:
            self.pause(now)

    @property
    def _retries_percent(self) -> float:
        return 100 * sum(self._recent) / len(self._recent)
