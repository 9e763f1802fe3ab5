"""What the Sync Server needs from outside; each port has an in-memory twin in `sync.adapters.memory`."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position
from sync.domain.log import Batch, LogHead, OrderRow
from sync.domain.parking import Choice, Mark, ParkedEvent
from sync.domain.settlement import Settlement
from sync.domain.snapshot import Chunk, Wanted
from sync.domain.subscription import Ack, AckOutcome, Opening, Subscription, SubscriptionKey

AHEAD_OF: Final = "ahead of "


class SourceUnavailableError(Exception):
    """The log cannot be asked now; asking again later may help."""


class EventSource(Protocol):
    """The log, read from any position.

    Positions are the log's, whatever carries it: one that was taken from one source works on every other. Batches of
    one shard follow each other without a hole or a repetition as far as the source can tell, and hold whole groups
    only; shards are interleaved freely. A reader never ends by itself: at the head it waits for what is recorded
    next, and a lost connection is made again for as long as it takes. Closing the generator (`aclose`) releases what
    it holds.
    """

    async def head(self) -> LogHead:
        """Where the log stands now.

        Raises:
            SourceUnavailableError: It cannot be asked; nobody tries again on its own here.
        """

    async def position_at(self, time_us: int) -> Position:
        """At the first event of each shard that was recorded then or later; at the head of a shard that has none.

        Raises:
            SourceUnavailableError: The log cannot be asked; nobody tries again on its own here.
        """

    async def record_times(self, position: Position, shards: Collection[int]) -> Mapping[int, int]:
        """By shard, when the event that follows the position was recorded. The shards all have one.

        Raises:
            PositionError: The log cannot be read from there.
            SourceUnavailableError: The log cannot be asked; nobody tries again on its own here.
        """

    def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        """Everything from `start` (inclusive) on, for the one ingest of this server.

        Each item is what arrived together. At most one such reader at a time.

        Raises:
            PositionError: The log cannot be read from there, now or ever.
        """

    def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        """The shards from `start` (inclusive) on, for a stream that the ring no longer serves; many at a time.

        Raises:
            PositionError: The log cannot be read from there, now or ever.
        """

    def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        """Every order of the log, by pages, each as it stood at some moment since the call; one may come twice.

        The log need not tell of all of them any more.

        Raises:
            SourceUnavailableError: They cannot be asked for; nobody tries again on its own here.
        """

    async def confirm(self, position: Position) -> None:
        """Tells the log that everything below is durable here, so that it keeps what follows.

        Waits for the log some seconds at most; may be lost.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    """Orders by id; `more` says whether others follow the last one."""

    orders: Sequence[OrderRow]
    more: bool


class ReadModel(Protocol):
    """Orders as the log left them, and how much of the log they include; both change together or not at all.

    One that begins at no place of its shards, 0 for each, is to be filled first: until `apply` has said how far it is
    after that, it is not to be asked for orders.

    Several servers may write one read model, each what it reads of the log: what is there already changes nothing.
    """

    async def position(self) -> Position | None:
        """What the orders include; none before `begin`."""

    async def begin(self, position: Position) -> None:
        """Says of an empty read model which log it is of; one that has begun stays as it is."""

    async def apply(self, orders: Sequence[OrderRow], position: Position) -> None:
        """Stores orders, each of them once, and the position that includes them in one transaction, durable on return.

        An order that is already there at the same version or a later one stays as it is, and so does a shard's
        position.
        """

    async def fill(self, orders: Sequence[OrderRow]) -> bool:
        """Stores orders as `apply` does, without a position; False, and nothing stored, if it is filled already."""

    async def condemn(self) -> None:
        """Says that the log has gone back behind it: its epoch begins with `AHEAD_OF` from now on, for good."""

    async def find(self, order_id: str) -> OrderRow | None:
        """One order."""

    async def page(self, term: Term, *, after: str, limit: int) -> OrderPage:
        """At most `limit` matching orders whose id is above `after`, by id in code point order."""

    async def chunk(self, wanted: Wanted) -> Chunk:
        """The orders that are wanted, and the position of the very same snapshot.

        The filter may speak of all that an event's may, but for its type.
        """

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """Over (order id, version) of every matching order, and the position of the very same snapshot.

        The filter may speak of all that `page`'s may. Memory does not grow with the number of orders.
        """

    async def prove(self, term: Term, shards: Collection[int]) -> tuple[Position, Digest]:
        """As `digest`, over the orders of these shards that a stream of this filter brings; see `chunk` for filters."""


class Subscriptions(Protocol):
    """Durable floors. Every call is one transaction; what it answers is durable on return.

    Servers that share a database share them: a stream that is opened at one fences its predecessor at another.
    """

    async def find(self, key: SubscriptionKey) -> Subscription | None:
        """What is stored; none if it was never opened."""

    async def open(self, opening: Opening) -> Subscription:
        """Takes the next delivery epoch for the opening's shards; see `domain.subscription.opened`.

        Raises:
            EpochNeverGivenError: The checkpoint's epoch cannot be; nothing changed.
            SubscriptionFilterChangedError: It was made with another filter; nothing changed.
            TooManySubscriptionsError: It is new, and there is no room for it.
        """

    async def create(self, opening: Opening) -> Subscription:
        """What is stored; made with the opening's start and no delivery epoch yet, if nothing was.

        Raises:
            SubscriptionFilterChangedError: It was made with another filter; nothing changed.
            TooManySubscriptionsError: It is new, and there is no room for it.
        """

    async def page(self, principal: str, *, after: str, limit: int) -> Sequence[tuple[str, Subscription]]:
        """At most `limit` of a principal's subscriptions whose name is above `after`, by name in code point order."""

    async def seek(self, key: SubscriptionKey, log_epoch: str, floors: Mapping[int, int]) -> Subscription | None:
        """Moves floors anywhere, and takes the next delivery epoch for them; see `domain.subscription.sought`.

        None, and nothing changed, if there is no such subscription.
        """

    async def delete(self, key: SubscriptionKey) -> None:
        """Forgets a subscription and what it has parked, if there is one; but no delivery epoch is given twice."""

    async def commit(self, acks: Sequence[Ack | Settlement]) -> Sequence[AckOutcome]:
        """Moves floors, and fills and empties parking places: one outcome per ack, in their sequence.

        See `domain.subscription.acked` and `domain.settlement.settled`. The delivery epoch is compared in each
        statement that writes, so a stream that was superseded changes nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedPage:
    """Parked events by shard and seq; `more` says whether others follow the last one."""

    events: Sequence[ParkedEvent]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkingView:
    """What a stream is to know of the parking place, of one snapshot.

    Attributes:
        marks: Of every event that is parked.
        replaying: The first of those that are to be sent again, whole.
    """

    marks: Sequence[Mark]
    replaying: Sequence[ParkedEvent]


class Parking(Protocol):
    """Parking places: what `Subscriptions.commit` has put there. Every call is one transaction."""

    async def page(self, key: SubscriptionKey, *, after: tuple[int, int], limit: int) -> ParkedPage:
        """At most `limit` parked events behind the shard and seq `after`."""

    async def replay(self, key: SubscriptionKey, choice: Choice) -> int:
        """Says that events are to be sent again, by the stream that holds their shard; how many, durable on return."""

    async def discard(self, key: SubscriptionKey, choice: Choice) -> int:
        """Forgets events for good; how many."""

    async def count(self, key: SubscriptionKey) -> int:
        """How many events are parked."""

    async def revision(self, key: SubscriptionKey) -> int:
        """Grows with every `replay` and `discard`; 0 for a subscription that is unknown."""

    async def view(self, key: SubscriptionKey, shards: Sequence[int], *, replaying_max: int) -> ParkingView:
        """What a stream of those shards is to know."""
