"""What a stream is fed from the source where the ring no longer holds what comes next: a batch at a time. Pure."""

from sync.domain.errors import LogHoleError
from sync.domain.fanout import Fanout, Frame, Selection
from sync.domain.log import Batch
from sync.domain.ring import Limits, Segment


class Feeding:
    """The batch that a stream was fed and has not sent to its end.

    Attributes:
        segment: The batch; none where the ring serves the stream, or nothing has come yet.
    """

    def __init__(self, fanout: Fanout, selection: Selection) -> None:
        self.segment: Segment | None = None
        self._fanout = fanout
        self._selection = selection
        self._held_from: tuple[int, ...] | None = None

    def missing(self, next_seqs: tuple[int, ...]) -> tuple[int, ...]:
        """The shards of which the ring no longer holds what comes next."""
        held_from = self._fanout.ring.first_seqs
        if held_from is self._held_from:  # what was held then is held now, and the stream has only gone on
            return ()
        missing = self._fanout.missing(self._selection, next_seqs)
        if not missing:
            self._held_from = held_from
        return missing

    def take(self, batch: Batch, expected: int, *, skips: bool) -> None:
        """Takes the batch that comes next in its shard.

        Args:
            batch: It.
            expected: The seq that is due.
            skips: The stream may have gone on over what is done, while what precedes the batch was read.

        Raises:
            LogHoleError: Another one comes next.
        """
        if batch.first_seq > expected or (batch.first_seq < expected and not skips):
            raise LogHoleError(batch.shard, expected, batch.first_seq)
        self.segment = Segment.of(batch)

    def cut(self, segment: Segment, next_seqs: tuple[int, ...], limits: Limits) -> Frame | None:
        """The next frame of the batch."""
        return self._fanout.cut_from([segment], self._selection, next_seqs, limits)

    def pass_by(self, next_seqs: tuple[int, ...]) -> None:
        """The stream has come here; what it was sent to the end is let go."""
        if self.segment is not None and self.segment.next_seq <= next_seqs[self.segment.shard]:
            self.segment = None
