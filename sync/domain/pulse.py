"""When a stream has to say something by itself: its heartbeats, its end by age, and what it makes of silence."""

from math import floor, inf
from typing import Final

from sync.domain.errors import CallerSilentError
from sync.domain.frames import Heartbeat
from sync.domain.terms import Terms

_BEATS_PER_SECOND: Final = (
    8  # streams that are due within an eighth of a second are due together, the earlier one's time
)


class Pulse:
    """The times of one stream.

    Attributes:
        beat_at: When its silence has to be broken.
        silent_at: When its caller has been silent for too long.
        leave_at: When it ends itself.
        due: When the first of these times comes.
    """

    def __init__(self, terms: Terms, now: float) -> None:
        self._heartbeat_seconds = terms.heartbeat_seconds
        self._silence_seconds = terms.silence_seconds
        self._heartbeats = 0
        self.silent_at = inf
        self.leave_at = now + terms.stream_seconds
        self.beat(now)
        self.hear(now)

    def hear(self, now: float) -> None:
        """The caller has said something."""
        if self._silence_seconds is not None:
            self.silent_at = now + self._silence_seconds
        self.due = min(self.beat_at, self.silent_at, self.leave_at)

    def refuse_silence(self, now: float) -> None:
        """Checks the caller's silence.

        Raises:
            CallerSilentError: It has said nothing for too long.
        """
        if now >= self.silent_at and self._silence_seconds is not None:
            raise CallerSilentError(self._silence_seconds)

    def beat(self, now: float) -> None:
        """The silence was broken."""
        self.beat_at = floor((now + self._heartbeat_seconds) * _BEATS_PER_SECOND) / _BEATS_PER_SECOND
        self.due = min(self.beat_at, self.silent_at, self.leave_at)

    def heartbeat(self) -> Heartbeat:
        """A sign that the server is alive."""
        self._heartbeats += 1
        return Heartbeat(heartbeat_seq=self._heartbeats)
