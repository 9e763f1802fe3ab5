"""What a stream says of its place between events: how far it has come, and how far behind it is. Pure."""

from collections.abc import Callable

from sync.domain.fanout import Fanout, Frame
from sync.domain.frames import ControlFrame, Progress
from sync.domain.lag import LagNews, Meter, Standing
from sync.domain.terms import Terms


class Reporting:
    """The reports of one stream.

    Args:
        terms: What the stream was granted.
        fanout: Where its events come from.
        meter: Measures its lag; none where none is told.
        say: Takes what is to be sent.
    """

    def __init__(self, terms: Terms, fanout: Fanout, meter: Meter | None, say: Callable[[ControlFrame], None]) -> None:
        self._terms = terms
        self._fanout = fanout
        self._lag_news = None if meter is None else LagNews(meter)
        self._say = say
        self._told: Progress | None = None
        self._as_of_us = 0
        self._silent = False

    def passed(self, frame: Frame) -> None:
        """The stream has passed what the frame covers."""
        self._silent |= frame.silent

    def before(self, frame: Frame | None, next_seqs: tuple[int, ...]) -> Progress | Frame | None:
        """The frame; instead of events that follow a range in which nothing matched, the progress that covers it."""
        if not self._silent or frame is None or not frame.message:
            return frame
        self._silent = False
        self._told = Progress(at=self._terms.position(next_seqs), as_of_us=self._as_of_us)
        return self._told

    def progress(self, next_seqs: tuple[int, ...], as_of_us: int, *, anew: bool) -> bool:
        """Says how far the stream has come, unless that is what it said last and is not to be said anew."""
        told = self._told
        # What the server covers, the stream covers only where it stands at the server's head.
        if not self._fanout.has_more(self._terms.selection, next_seqs):
            self._as_of_us = as_of_us
        at = told.at if told is not None and told.at.next_seq is next_seqs else self._terms.position(next_seqs)
        progress = Progress(at=at, as_of_us=self._as_of_us)
        if progress == told and not anew:
            return False
        self._told = progress
        self._silent = False
        self._say(progress)
        return True

    def lag(self, rests_on: tuple[object, ...] | None, standing: Callable[[], Standing]) -> None:
        """Says how far behind the stream is, if that has changed: see `LagNews`."""
        lag = None if self._lag_news is None else self._lag_news.of(rests_on, standing)
        if lag is not None:
            self._say(lag)
