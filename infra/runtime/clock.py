"""Time as an argument: the system's clock in production, one that is moved by hand in tests."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time. Neither blocks; any thread may call."""

    def now_us(self) -> int:
        """Microseconds since 1970 UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds since some instant; never goes back."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Wall-clock time in microseconds."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is advanced."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """The time that was set."""
        return self._now_us

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self._now_us / 1e6

    def advance(self, seconds: float) -> None:
        """Moves both readings."""
        self._now_us += round(seconds * 1e6)
