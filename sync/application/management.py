"""Durable subscriptions without a stream: made, moved and deleted by those whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.kernel.filter import Term
from infra.kernel.position import Position, check_log
from sync.application.freshness import Freshness
from sync.application.opening import Openings
from sync.application.ports import Subscriptions
from sync.application.subscribe import Streams
from sync.domain.errors import SubscriptionNotFoundError
from sync.domain.fanout import Selection
from sync.domain.frames import Start
from sync.domain.subscription import Opening, Subscription, SubscriptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """A subscription as its owner sees it."""

    name: str
    filter: str
    floor: Position
    delivery_epoch: int
    streams: int


class Management:
    """Every call is about the caller's own subscriptions, and may be repeated."""

    def __init__(
        self, openings: Openings, subscriptions: Subscriptions, streams: Streams, freshness: Freshness
    ) -> None:
        self._openings = openings
        self._subscriptions = subscriptions
        self._streams = streams
        self._freshness = freshness

    async def create(self, key: SubscriptionKey, filter_text: str, term: Term, start: Start) -> Managed:
        """Makes one; one that is there with the same filter stays as it is.

        Raises:
            PositionError: Its floor cannot begin there.
            SubscriptionFilterChangedError: One is there with another filter.
        """
        selection = Selection.of(tuple(range(self._shards)), term)
        floors = await self._openings.place(start, selection)
        stored = await self._subscriptions.create(
            Opening(
                key=key,
                log_epoch=self._freshness.position.log_epoch,
                filter=filter_text,
                filter_hash=selection.filter_hash,
                start=dict(enumerate(floors)),
            )
        )
        return self._managed(key, stored)

    async def find(self, key: SubscriptionKey) -> Managed:
        """One of them.

        Raises:
            SubscriptionNotFoundError: The caller has none of this name.
        """
        return self._managed(key, _there(await self._subscriptions.find(key), key))

    async def page(self, principal: str, *, after: str, limit: int) -> Sequence[Managed]:
        """At most `limit` of the caller's whose name is above `after`, by name."""
        found = await self._subscriptions.page(principal, after=after, limit=limit)
        return [self._managed(SubscriptionKey(principal=principal, name=name), stored) for name, stored in found]

    async def delete(self, key: SubscriptionKey) -> None:
        """Forgets one; its streams here end now, and elsewhere at their next ack."""
        await self._subscriptions.delete(key)
        self._streams.fence(key)

    async def seek(self, key: SubscriptionKey, to: Start) -> Managed:
        """Moves its floor; its streams here end now, and elsewhere at their next ack.

        Raises:
            PositionError: It cannot be read from there.
            SubscriptionNotFoundError: The caller has none of this name.
        """
        stored = _there(await self._subscriptions.find(key), key)
        shards = tuple(range(self._shards))
        if isinstance(to, Position):
            check_log(to, self._freshness.position.log_epoch, self._shards)
            shards = tuple(shard for shard in shards if to.next_seq[shard])
        seqs = await self._openings.place(to, Selection(shards=shards, filter_hash=stored.filter_hash))
        floors = {shard: seqs[shard] for shard in shards}
        moved = await self._subscriptions.seek(key, self._freshness.position.log_epoch, floors)
        self._streams.fence(key)
        return self._managed(key, _there(moved, key))

    @property
    def _shards(self) -> int:
        return len(self._freshness.position.next_seq)

    def _managed(self, key: SubscriptionKey, stored: Subscription) -> Managed:
        floors = tuple(stored.next_seq(shard) or 0 for shard in range(self._shards))
        return Managed(
            name=key.name,
            filter=stored.filter,
            floor=Position(log_epoch=stored.log_epoch, next_seq=floors, filter_hash=stored.filter_hash),
            delivery_epoch=stored.delivery_epoch,
            streams=len(self._streams.of(key)),
        )


def _there(stored: Subscription | None, key: SubscriptionKey) -> Subscription:
    if stored is None:
        raise SubscriptionNotFoundError(key.name)
    return stored
