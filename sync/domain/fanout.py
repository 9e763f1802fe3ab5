"""Frames of events that many streams share: what one stream makes, the others at the same place take as it is.

A stream pulls: nothing is queued for it, so a slow one holds no memory and can hold nobody up. Streams that read the
same and stand at the same place get the same bytes object, and as everybody who keeps up stands at the head, that is
the common case.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import ge, itemgetter
from typing import Final

from infra.kernel.filter import EVERYTHING, Term, filter_hash
from sync.domain.ring import Limits, Piece, Ring, Segment

FRAME_BYTES_MAX: Final = 512 * 1024  # of events; half of what a message may have, so that a large group fits beside
_SHARED_BYTES_MAX: Final = 32 * 1024 * 1024
_SHARED_FRAMES_MAX: Final = 4_096

Encode = Callable[[Sequence[Piece]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a stream reads. Streams with equal ones share their frames."""

    shards: tuple[int, ...]
    term: Term = EVERYTHING
    filter_hash: bytes = b""

    @classmethod
    def of(cls, shards: tuple[int, ...], term: Term) -> "Selection":
        """The selection of a filter and shards."""
        return cls(shards=shards, term=term, filter_hash=filter_hash(term))


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of events.

    Attributes:
        message: As it goes onto the wire; empty where nothing matched.
        events: How many events it carries.
        size: Bytes of the encoded events that it carries.
        next_seqs: By shard, where a reader stands after it.
        silent: It passes ranges in which nothing matched, and of which the message does not speak.
    """

    message: bytes
    events: int
    size: int
    next_seqs: tuple[int, ...]
    silent: bool = False


class Fanout:
    """The ring, and the frames that were made from it lately."""

    def __init__(self, ring: Ring, encode: Encode) -> None:
        self.ring = ring
        self._encode = encode
        self._shared: OrderedDict[tuple[object, ...], tuple[Frame, int]] = OrderedDict()
        self._shared_bytes = 0

    def has_more(self, selection: Selection, next_seqs: tuple[int, ...]) -> bool:
        """Whether the ring has events, matching or not, for a reader that stands at `next_seqs`."""
        heads = self.ring.next_seqs
        if next_seqs == heads:
            return False
        return any(next_seqs[shard] < heads[shard] for shard in selection.shards)

    def missing(self, selection: Selection, next_seqs: tuple[int, ...]) -> tuple[int, ...]:
        """The shards of which a reader that stands there needs events that the ring no longer holds."""
        first = self.ring.first_seqs
        if next_seqs == self.ring.next_seqs or all(map(ge, next_seqs, first)):
            return ()
        return tuple(shard for shard in selection.shards if next_seqs[shard] < first[shard])

    def shared(self, selection: Selection, next_seqs: tuple[int, ...], events_max: int) -> Frame | None:
        """The next frame for every reader of the selection that stands there; none at the head."""
        if next_seqs == self.ring.next_seqs:
            return None
        key = (selection.filter_hash, selection.shards, next_seqs, events_max)
        found = self._shared.get(key)
        # A frame that was cut at the head is out of date once the head has moved: a reader that took it would
        # follow in the tiny steps of those who were faster.
        if found is not None and found[1] in (0, self.ring.version):
            return found[0]
        frame = self.cut(selection, next_seqs, Limits(events_max=events_max, bytes_max=FRAME_BYTES_MAX))
        if frame is not None:
            self._keep(key, frame, 0 if self.has_more(selection, frame.next_seqs) else self.ring.version)
        return frame

    def cut(self, selection: Selection, next_seqs: tuple[int, ...], limits: Limits) -> Frame | None:
        """A frame within the limits for one reader alone; none at the head."""
        return self.cut_from(self.ring.segments, selection, next_seqs, limits)

    def cut_from(
        self, segments: Sequence[Segment], selection: Selection, next_seqs: tuple[int, ...], limits: Limits
    ) -> Frame | None:
        """As `cut`, from segments that need not be the ring's."""
        pieces = _fair_pieces(segments, selection, next_seqs, limits)
        if not pieces:
            return None
        matching = [piece for piece in pieces if piece.chunks]
        message = self._encode(matching) if matching else b""
        return _frame(message, pieces, next_seqs, silent=len(matching) < len(pieces))

    def frame_of(self, pieces: Sequence[Piece], next_seqs: tuple[int, ...]) -> Frame:
        """A frame that says these pieces, even those without events, to one reader that stands at `next_seqs`."""
        return _frame(self._encode(pieces), pieces, next_seqs, silent=False)

    def _keep(self, key: tuple[object, ...], frame: Frame, version: int) -> None:
        replaced = self._shared.pop(key, None)
        if replaced is not None:
            self._shared_bytes -= len(replaced[0].message)
        self._shared[key] = (frame, version)
        self._shared_bytes += len(frame.message)
        while self._shared_bytes > _SHARED_BYTES_MAX or len(self._shared) > _SHARED_FRAMES_MAX:
            _, (oldest, _) = self._shared.popitem(last=False)
            self._shared_bytes -= len(oldest.message)


def _frame(message: bytes, pieces: Sequence[Piece], next_seqs: tuple[int, ...], *, silent: bool) -> Frame:
    after = list(next_seqs)
    events = size = 0
    for piece in pieces:
        after[piece.shard] = piece.last_seq + 1
        events += len(piece.chunks)
        size += piece.size
    return Frame(message, events, size, tuple(after), silent=silent)


def _fair_pieces(
    segments: Sequence[Segment], selection: Selection, next_seqs: tuple[int, ...], limits: Limits
) -> list[Piece]:
    """Whole groups within the limits, from as few shards as fairness allows: each piece costs its own header.

    Shards that are behind by less than an equal share come first and entirely, so that none waits for a busy one;
    what is left goes to the shard that is furthest behind, so that the others' turns come.
    """
    behind = [
        (segment.next_seq - read, at)
        for at, segment in enumerate(segments)
        if segment.next_seq > (read := next_seqs[segment.shard]) > 0
    ]
    behind.sort()
    share = limits.events_max // max(1, len(behind))
    small = bisect_right(behind, share, key=itemgetter(0))
    pieces: list[Piece] = []
    left = limits
    for _, at in [*behind[:small], *reversed(behind[small:])]:
        piece = segments[at].cut(next_seqs[segments[at].shard], left, selection.term)
        if pieces and (len(piece.chunks) > left.events_max or piece.size > left.bytes_max):
            continue  # one group alone may be too large for a frame, a second one waits for the next
        pieces.append(piece)
        left = left.without(len(piece.chunks), piece.size)
        if left.events_max <= 0 or left.bytes_max <= 0:
            break
    return pieces
