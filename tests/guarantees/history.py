"""What clients and readers did and saw: one record a line in a file, in the sequence in which it happened.

One process writes it, on one event loop: a call's `Invoked` is written before the call is sent and its `Answered` after
its answer has come, so that whatever stands between the two lines happened while the call was under way. That is the
real time that linearizability is about; the clock's nanoseconds only say how long something took.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TextIO

Seqs = list[int]  # by shard, a next seq; a list, since that is what JSON gives back
SeenEvent = tuple[int, int, str, str, str, int, int]  # seq, version, order id, event id, content, group index, its size


class Invoked(NamedTuple):
    """A call is about to be sent.

    Attributes:
        at_ns: When, by the monotonic clock; in every record.
        call: Its number.
        method: Its RPC; of the read model's, `READ_MODEL` is.
        order_id: Whose order it is about.
        request_id: Of the command, sent or asked about; empty for a read.
        guard: The version that the command's etag stands for; 0 without one.
        min_seqs: The position that a read must include; empty without one.
    """

    at_ns: int
    call: int
    method: str
    order_id: str
    request_id: str
    guard: int
    min_seqs: Seqs


class Answered(NamedTuple):
    """The call has ended.

    Attributes:
        outcome: OK, REFUSED for good, FENCED (it will never be carried out), or UNKNOWN: any other error.
        reason: Of an error.
        version: Of the order in the answer, or that a refusal names; 0 if there is none.
        content: Hash of that order; empty without it.
        reply: Hash of the whole answer; empty where nothing says that it is given again.
        events: How many events the command caused.
        next_seqs: The position of the answer.
    """

    at_ns: int
    call: int
    outcome: str
    reason: str
    version: int
    content: str
    reply: str
    events: int
    next_seqs: Seqs


class Settled(NamedTuple):
    """The client sends this command no more. `known`: it has learned what became of it."""

    at_ns: int
    request_id: str
    known: bool


class Opened(NamedTuple):
    """A reader's stream was opened.

    Attributes:
        stream: Its number: every opening has its own.
        reader: Who reads, from one stream to the next.
        asked: The position that was asked for; empty for the earliest, and for what is stored.
        start: Where the server says that it starts.
        customer_id: The reader wants this customer's orders only; empty for all.
        durable: Its place is the floor that its acks have moved.
    """

    at_ns: int
    stream: int
    reader: str
    asked: Seqs
    start: Seqs
    customer_id: str
    durable: bool


class Arrived(NamedTuple):
    """A batch came: a range of one shard."""

    at_ns: int
    stream: int
    shard: int
    first_seq: int
    last_seq: int
    events: list[SeenEvent]


class Progressed(NamedTuple):
    """The stream says that everything below was sent; `as_of_us`: and that it is all that was recorded until then."""

    at_ns: int
    stream: int
    next_seqs: Seqs
    as_of_us: int


class Committed(NamedTuple):
    """An ack was answered: the reader's floor is durable."""

    at_ns: int
    stream: int
    floor: Seqs


class Ended(NamedTuple):
    """The stream has ended; `reason` says why, where it was an error."""

    at_ns: int
    stream: int
    reason: str


class Struck(NamedTuple):
    """Something goes wrong from here on."""

    at_ns: int
    fault: str


class Healed(NamedTuple):
    """What it hit works again."""

    at_ns: int
    fault: str


class Drained(NamedTuple):
    """Nobody sends commands any more, nothing is broken, and readers have had their time to see everything."""

    at_ns: int


Record = Invoked | Answered | Settled | Opened | Arrived | Progressed | Committed | Ended | Struck | Healed | Drained
READ_MODEL: Final = "ReadModel.GetOrder"
OK, REFUSED, FENCED, UNKNOWN = "ok", "refused", "fenced", "unknown"
_KINDS: Final[dict[str, type[Record]]] = {
    kind.__name__: kind
    for kind in (
        Invoked,
        Answered,
        Settled,
        Opened,
        Arrived,
        Progressed,
        Committed,
        Ended,
        Struck,
        Healed,
        Drained,
    )
}


class History:
    """Takes records; a file holds them, so that a long run needs no more memory than a short one."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines

    @classmethod
    @contextmanager
    def written_to(cls, file: Path) -> Iterator["History"]:
        """A new history; the file is whole when the context ends."""
        with file.open("w") as lines:
            yield cls(lines)

    def note(self, record: Record) -> None:
        """Adds what has just happened."""
        self._lines.write(json.dumps([type(record).__name__, *record], separators=(",", ":")) + "\n")

    def struck(self, fault: str) -> None:
        """Notes that a fault happens."""
        self.note(Struck(now_ns(), fault))

    def healed(self, fault: str) -> None:
        """Notes that what it hit works again."""
        self.note(Healed(now_ns(), fault))


def now_ns() -> int:
    """The time for a record."""
    return time.monotonic_ns()


def read_history(file: Path) -> Iterator[Record]:
    """The records of a file, one after the other."""
    with file.open() as lines:
        for line in lines:
            kind, *values = json.loads(line)
            yield _KINDS[kind](*values)
