"""What is done of a shard: everything below a floor, and single stretches above it."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

DELAY_SECONDS_MAX: Final = 3_600  # of RETRY
Stretch = tuple[int, int]
"""Seqs from the first number on, below the second."""


class Retried(NamedTuple):
    """How often an event was answered with RETRY, and when it comes again, by the wall clock; 0 if at once.

    Attributes:
        delay_us: So long after the answer; it waits no longer even where the wall clock was set back meanwhile.
    """

    attempts: int
    due_us: int = 0
    delay_us: int = DELAY_SECONDS_MAX * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Of one shard: everything below `next_seq` is done; only the stream of `delivery_epoch` may change it.

    Attributes:
        done: Stretches above `next_seq` that are done, too: apart from each other, by seq.
        attempts: Events that are not done and were answered with RETRY, by seq.
    """

    next_seq: int
    delivery_epoch: int
    done: tuple[Stretch, ...] = ()
    attempts: Mapping[int, Retried] = field(default_factory=dict)

    def finished(self, stretches: Iterable[Stretch]) -> "Floor":
        """With these done as well. They may overlap each other and what was done before."""
        merged: list[Stretch] = [(0, self.next_seq)]
        for first, end in sorted(chain(self.done, stretches)):
            if first > merged[-1][1]:
                merged.append((first, end))
            elif end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        after = replace(self, next_seq=merged[0][1], done=tuple(merged[1:]))
        attempts = {seq: count for seq, count in self.attempts.items() if not after.is_done(seq)}
        return replace(after, attempts=attempts)

    def retried(self, attempts: Mapping[int, Retried]) -> "Floor":
        """With the attempts of some events counted; those that are done have none."""
        counted = {seq: count for seq, count in attempts.items() if not self.is_done(seq)}
        return replace(self, attempts={**self.attempts, **counted})

    def is_done(self, seq: int) -> bool:
        """Whether the event is done."""
        return self.after_done(seq) > seq

    def after_done(self, seq: int) -> int:
        """The first seq from this one on that is not done."""
        if seq < self.next_seq:
            return self.next_seq
        at = bisect_right(self.done, seq, key=itemgetter(0)) - 1
        return max(seq, self.done[at][1]) if at >= 0 else seq
