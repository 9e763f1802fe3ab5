"""The parking place, for those who look after it."""

from sync.application.ports import ParkedPage, Parking, Subscriptions
from sync.application.subscribe import Streams
from sync.domain.errors import SubscriptionNotFoundError
from sync.domain.parking import Choice
from sync.domain.subscription import SubscriptionKey


class ParkingPlaces:
    """Lists, replays and discards; open streams of this server hear of it at once, those of others within a second."""

    def __init__(self, parking: Parking, subscriptions: Subscriptions, streams: Streams) -> None:
        self._parking = parking
        self._subscriptions = subscriptions
        self._streams = streams

    async def page(self, key: SubscriptionKey, *, after: tuple[int, int], limit: int) -> ParkedPage:
        """At most `limit` parked events behind the shard and seq `after`.

        Raises:
            SubscriptionNotFoundError: There is no such subscription.
        """
        await self._refuse_unknown(key)
        return await self._parking.page(key, after=after, limit=limit)

    async def replay(self, key: SubscriptionKey, choice: Choice) -> int:
        """Has events sent again; how many.

        Raises:
            SubscriptionNotFoundError: There is no such subscription.
        """
        await self._refuse_unknown(key)
        replayed = await self._parking.replay(key, choice)
        self._streams.parking_changed(key)
        return replayed

    async def discard(self, key: SubscriptionKey, choice: Choice) -> int:
        """Forgets events for good; how many.

        Raises:
            SubscriptionNotFoundError: There is no such subscription.
        """
        await self._refuse_unknown(key)
        discarded = await self._parking.discard(key, choice)
        self._streams.parking_changed(key)
        return discarded

    async def _refuse_unknown(self, key: SubscriptionKey) -> None:
        if await self._subscriptions.find(key) is None:
            raise SubscriptionNotFoundError(key.name)
