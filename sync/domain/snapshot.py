"""A snapshot on a stream: which orders are read next, and which of them wait to be sent. Pure and synchronous."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from infra.kernel.filter import Term
from infra.kernel.position import Position
from sync.domain.fanout import Selection
from sync.domain.frames import SnapshotOrders
from sync.domain.ring import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which orders to read: by id, behind `after`, those that match and belong to the shards, within the limits.

    Attributes:
        shards: Of the log's `shards_all`.
        limits: At least one order, however large it is.
    """

    term: Term
    shards: frozenset[int]
    shards_all: int
    after: str
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Orders by id, as all of them were at one position.

    Attributes:
        orders: Each encoded.
        last_order_id: The last one that was looked at, whether it matches or not; empty when none was left.
    """

    at: Position
    orders: Sequence[bytes]
    last_order_id: str


class Snapshot:
    """Where a stream is in its snapshot.

    Attributes:
        after: Orders up to this one have been read.
    """

    def __init__(self, after: str) -> None:
        self.after = after
        self._chunk: Chunk | None = None
        self._sent = 0
        self._read_all = False

    @property
    def hungry(self) -> bool:
        """Whether the next chunk may come."""
        return self._chunk is None and not self._read_all

    @property
    def over(self) -> bool:
        """Whether every order has been taken."""
        return self._chunk is None and self._read_all

    def wanted(self, selection: Selection, shards_all: int, limits: Limits) -> Wanted:
        """The orders that come next."""
        return Wanted(
            term=selection.term,
            shards=frozenset(selection.shards),
            shards_all=shards_all,
            after=self.after,
            limits=limits,
        )

    def feed(self, chunk: Chunk) -> None:
        """Gives it the chunk that comes next."""
        self.after = chunk.last_order_id or self.after
        self._read_all = not chunk.last_order_id
        if chunk.orders:
            self._chunk, self._sent = chunk, 0

    def take(self, limits: Limits) -> SnapshotOrders | None:
        """Orders within the limits, at least one; none when none are here."""
        chunk = self._chunk
        if chunk is None:
            return None
        taken: list[bytes] = []
        size = 0
        for order in islice(chunk.orders, self._sent, self._sent + limits.events_max):
            if taken and size + len(order) > limits.bytes_max:
                break
            taken.append(order)
            size += len(order)
        self._sent += len(taken)
        if self._sent == len(chunk.orders):
            self._chunk = None
        return SnapshotOrders(at=chunk.at, orders=tuple(taken), size=size)
