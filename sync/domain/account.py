"""A stream's account of single events, told in frames: what is left out of them, and what comes again beside them."""

from collections.abc import Iterator, Sequence

from sync.domain.delivery import Deliveries, Tracking
from sync.domain.fanout import Fanout, Frame, Selection
from sync.domain.lines import Redelivery
from sync.domain.ring import Limits, PassingEvent, Piece, Segment


class Account:
    """What a session asks for where acks name single events.

    Attributes:
        now: The time of what the session asks; it moves it on.
    """

    def __init__(
        self, tracking: Tracking, fanout: Fanout, selection: Selection, next_seqs: tuple[int, ...], now: float
    ) -> None:
        self.now = now
        self.deliveries = Deliveries(tracking, next_seqs, now)
        self._fanout = fanout
        self._selection = selection
        self._stalled: tuple[Frame, Sequence[PassingEvent], tuple[int, ...]] | None = None

    @property
    def stalled(self) -> bool:
        """Whether the next frame waits until what is left out of it lies safely in the parking place."""
        return self._stalled is not None

    @property
    def paused(self) -> bool:
        """Whether nothing but a try may be sent."""
        return self.deliveries.breaker.paused

    @property
    def room(self) -> Limits:
        """How much may be sent, beside what comes again."""
        return self.deliveries.room(self.now)

    def beyond_done(self, next_seqs: tuple[int, ...]) -> Frame | None:
        """A frame that only says that a stretch is done, for a stream that stands at the begin of one."""
        for shard in self._selection.shards:
            end = self.deliveries.after_done(shard, next_seqs[shard])
            if end > next_seqs[shard]:
                return self._fanout.frame_of([Piece(shard, next_seqs[shard], end - 1, (), 0)], next_seqs)
        return None

    def passable(self, frame: Frame, segments: Sequence[Segment], next_seqs: tuple[int, ...]) -> Frame | None:
        """The frame without what is not to be sent now; none while it has to wait: see `stalled` and `go_on`.

        Args:
            frame: Cut from the segments for a stream that stands at `next_seqs`.
            segments: Hold its events.
            next_seqs: Where the stream stands.
        """
        events = list(self._passing(frame, segments, next_seqs))
        kept = self.deliveries.pass_by(events, self.now)
        going = events
        if kept:
            going = [each for each in events if each[:2] not in kept]
            frame = self._reduced(frame, going, next_seqs)
        if self.deliveries.diverted:
            self.deliveries.hold(going)
            self._stalled = frame, going, next_seqs
            return None
        return frame

    def go_on(self) -> Frame | None:
        """The frame that waited, once it need not wait longer: nobody is told sooner that its events are passed.

        Meanwhile an earlier event of an order may have been answered so that what follows it is not to be sent now.
        """
        if self._stalled is None or self.deliveries.diverted:
            return None
        (frame, events, next_seqs), self._stalled = self._stalled, None
        going = self.deliveries.let_go(events)
        return frame if len(going) == len(events) else self._reduced(frame, going, next_seqs)

    def redelivery(self, limits: Limits) -> Redelivery | None:
        """What is due to come again, as far as it may be sent. What is unfinished already needs no more room."""
        if not self.deliveries.remembers:
            return None
        events = min(limits.events_max, self.deliveries.breaker.room(self.now))
        if events <= 0 or limits.bytes_max <= 0:
            return None
        return self.deliveries.next_redelivery(self.now, Limits(events_max=int(events), bytes_max=limits.bytes_max))

    def _reduced(self, frame: Frame, events: Sequence[PassingEvent], next_seqs: tuple[int, ...]) -> Frame:
        return self._fanout.frame_of(list(self._pieces(frame, events, next_seqs)), next_seqs)

    def _passing(self, frame: Frame, segments: Sequence[Segment], next_seqs: tuple[int, ...]) -> Iterator[PassingEvent]:
        for segment in segments:
            start, end = next_seqs[segment.shard], frame.next_seqs[segment.shard]
            if end > start:
                yield from segment.passing(start, end, self._selection.term)

    def _pieces(self, frame: Frame, events: Sequence[PassingEvent], next_seqs: tuple[int, ...]) -> Iterator[Piece]:
        for shard in self._selection.shards:
            first, end = next_seqs[shard], frame.next_seqs[shard]
            if end > first:
                sent = [each for each in events if each.shard == shard]
                yield Piece(shard, first, end - 1, [each.chunk for each in sent], sum(each.size for each in sent))
