"""What a validator is told: one command, one read, or the place of one reader, as they were at that moment."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.guarantees.history import Answered, Invoked, Opened


class Anomaly(NamedTuple):
    """A promise that was broken: by which name, and the facts."""

    name: str
    facts: str


@dataclass(slots=True, kw_only=True)
class Command:
    """A command as its client saw it, all of its attempts together.

    Attributes:
        first: Its first attempt.
        floor: The highest version that an answer had shown of the order before that.
        seen: The same, with what anybody had seen by any way.
        answers: Of its attempts, and of the questions what became of it.
        doubt_ns: Since when no answer has said what became of it; 0 while one may still come, or has come.
        doubted_ns: The longest time for which that was so although nothing was broken.
        known: Whether its client has learned what became of it in the end.
    """

    first: Invoked
    floor: int
    seen: int
    answers: list[Answered] = field(default_factory=list)
    doubt_ns: int = 0
    doubted_ns: int = 0
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read that was answered, and the highest version that an answer had shown of the order before it began."""

    invoked: Invoked
    answered: Answered
    floor: int


@dataclass(slots=True, kw_only=True)
class Place:
    """Where a reader stands, from one stream to the next.

    Attributes:
        opened: Its newest stream.
        next_seqs: By shard, the seq that is due.
        floor: By shard, what its acks have made durable.
    """

    opened: Opened
    next_seqs: list[int]
    floor: list[int]
