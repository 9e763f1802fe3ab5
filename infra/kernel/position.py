"""A place in the log: for each shard the seq of the next event to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """One next seq per shard, of one log.

    0 says nothing about a shard; 1 is its first event. Immutable; positions of one log form a lattice under `merge`.
    """

    log_epoch: str
    next_seq: tuple[int, ...]
    filter_hash: bytes = b""

    @classmethod
    def earliest(cls, log_epoch: str, shards: int) -> "Position":
        """Before the first event of every shard."""
        return cls(log_epoch=log_epoch, next_seq=(1,) * shards)

    def moved(self, moves: Mapping[int, int]) -> "Position":
        """With `next_seq[shard]` replaced by what `moves` says for that shard."""
        return self._replace(next_seq=tuple(moves.get(shard, seq) for shard, seq in enumerate(self.next_seq)))

    def merged(self, other: "Position") -> "Position":
        """Element-wise maximum: what either of the two has passed."""
        return self._replace(next_seq=tuple(max(pair) for pair in zip(self.next_seq, other.next_seq, strict=True)))

    def covers(self, other: "Position") -> bool:
        """Whether everything below `other` is below this one, too. What `other` says nothing about is covered."""
        return all(mine >= theirs for mine, theirs in zip(self.next_seq, other.next_seq, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast:
    """What a read must include, if anything, and how long it may wait for that."""

    position: Position | None
    seconds: float


class PositionError(Exception):
    """A position that cannot be served. None of its kinds is healed by trying again, none by a silent jump."""


class PositionMalformedError(PositionError):
    """Not a position of a log with this number of shards."""


class PositionFilterMismatchError(PositionError):
    """Reached under another filter: what that one left out would be lost."""


class LogEpochChangedError(PositionError):
    """A position of another log."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__(f"the position belongs to log {theirs}, this is log {ours}: start again from EARLIEST")
        self.theirs = theirs
        self.ours = ours


class PositionAheadError(PositionError):
    """Beyond the head of the log."""

    def __init__(self, shard: int, asked: int, next_seq: int) -> None:
        super().__init__(f"seq {asked} of shard {shard} is ahead of the log, whose next seq there is {next_seq}")
        self.shard = shard
        self.asked = asked
        self.next_seq = next_seq


class PositionExpiredError(PositionError):
    """Older than anything that is kept."""

    def __init__(self, shard: int, asked: int, earliest_seq: int) -> None:
        super().__init__(f"seq {asked} of shard {shard} is no longer kept, the earliest is {earliest_seq}")
        self.shard = shard
        self.asked = asked
        self.earliest_seq = earliest_seq


def check_log(position: Position, log_epoch: str, shards: int) -> None:
    """Refuses a position of another log or of another number of shards.

    Raises:
        LogEpochChangedError: The position names another log.
        PositionMalformedError: It names no log, or has not one entry per shard, or a negative one.
    """
    if not position.log_epoch:
        raise PositionMalformedError("the position is empty: give one that a server has named, or a known point")
    if position.log_epoch != log_epoch:
        raise LogEpochChangedError(position.log_epoch, log_epoch)
    if len(position.next_seq) != shards or min(position.next_seq) < 0:
        raise PositionMalformedError(
            f"a position of this log has {shards} entries, each 0 or above; got {list(position.next_seq)}"
        )


def check_filter(position: Position, filter_hash: bytes) -> None:
    """Refuses a position that was reached under another filter; one that was reached under none fits any.

    Raises:
        PositionFilterMismatchError: It was.
    """
    if position.filter_hash not in (b"", filter_hash):
        raise PositionFilterMismatchError(
            "the position was reached under another filter: open with that filter, or start from EARLIEST"
        )


def check_start(position: Position, earliest: Sequence[int], heads: Sequence[int], shards: Sequence[int]) -> None:
    """Refuses a start that one of `shards` cannot be read from.

    Args:
        position: Where to start; already checked by `check_log`.
        earliest: By shard, the seq of the first event that is kept.
        heads: By shard, the seq that the next event will have.
        shards: The shards that are to be read.

    Raises:
        PositionMalformedError: It says nothing about one of them.
        PositionExpiredError: One starts before what is kept.
        PositionAheadError: One starts beyond the head.
    """
    for shard in shards:
        asked = position.next_seq[shard]
        if asked == 0:
            raise PositionMalformedError(f"the position says nothing about shard {shard}, which is to be read")
        if asked < earliest[shard]:
            raise PositionExpiredError(shard, asked, earliest[shard])
        if asked > heads[shard]:
            raise PositionAheadError(shard, asked, heads[shard])
