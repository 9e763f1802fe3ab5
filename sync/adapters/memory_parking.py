"""Parking places in memory; see `memory`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from sync.application.ports import ParkedPage, ParkingView
from sync.domain.parking import Choice, Mark, ParkedEvent
from sync.domain.settlement import Settlement
from sync.domain.subscription import SubscriptionKey

Place = dict[tuple[int, int], ParkedEvent]


def mark_of(event: ParkedEvent) -> Mark:
    """What a stream keeps in mind of the event."""
    return Mark(
        shard=event.shard,
        seq=event.seq,
        order_id=event.order_id,
        whole_order=event.whole_order,
        replaying=event.replaying,
    )


class MemoryParking:
    """See `ports.Parking`."""

    def __init__(self, *, parked_events_max: int) -> None:
        self._parked_events_max = parked_events_max
        self._places: defaultdict[SubscriptionKey, Place] = defaultdict(dict)
        self._revisions: defaultdict[SubscriptionKey, int] = defaultdict(int)

    async def page(self, key: SubscriptionKey, *, after: tuple[int, int], limit: int) -> ParkedPage:
        """See `Parking.page`."""
        found = [event for place, event in sorted(self._places[key].items()) if place > after]
        return ParkedPage(events=found[:limit], more=len(found) > limit)

    async def replay(self, key: SubscriptionKey, choice: Choice) -> int:
        """See `Parking.replay`."""
        self._revisions[key] += 1
        chosen = self._chosen(key, choice)
        self._places[key] |= {place: replace(event, replaying=True, due_us=0) for place, event in chosen.items()}
        return len(chosen)

    async def discard(self, key: SubscriptionKey, choice: Choice) -> int:
        """See `Parking.discard`."""
        self._revisions[key] += 1
        chosen = self._chosen(key, choice)
        for place in chosen:
            del self._places[key][place]
        return len(chosen)

    async def count(self, key: SubscriptionKey) -> int:
        """See `Parking.count`."""
        return len(self._places[key])

    async def revision(self, key: SubscriptionKey) -> int:
        """See `Parking.revision`."""
        return self._revisions[key]

    async def view(self, key: SubscriptionKey, shards: Sequence[int], *, replaying_max: int) -> ParkingView:
        """See `Parking.view`."""
        events = [event for _, event in sorted(self._places[key].items()) if event.shard in shards]
        return ParkingView(
            marks=[mark_of(each) for each in events],
            replaying=[each for each in events if each.replaying][:replaying_max],
        )

    def room(self, key: SubscriptionKey) -> int:
        """For how many more events there is room."""
        return self._parked_events_max - len(self._places[key])

    def move(self, settlement: Settlement, *, parked: bool) -> None:
        """Parks and takes out what the settlement says; `parked` is whether there was room."""
        place = self._places[settlement.key]
        for park in settlement.changes.parked if parked else ():
            place[park.event.shard, park.event.seq] = park.event
        for unparked in settlement.changes.unparked:
            place.pop(unparked, None)
        for at, retried in settlement.changes.parked_attempts.items():
            if at in place:
                place[at] = replace(place[at], **retried._asdict())

    def clear(self, key: SubscriptionKey) -> None:
        """Forgets the place: the subscription is gone, or its log."""
        self._places.pop(key, None)

    def _chosen(self, key: SubscriptionKey, choice: Choice) -> Place:
        place = self._places[key]
        named = None if choice.event is None else place.get(choice.event)
        if named is not None and named.whole_order:
            return {at: each for at, each in place.items() if each.order_id == named.order_id and each.whole_order}
        if choice.event is not None:
            return {} if named is None else {choice.event: named}
        return {at: each for at, each in place.items() if choice.order_id in (None, each.order_id)}
