"""What the outcomes of single events change durably, and what the stream is told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sync.domain.done_set import Floor, Retried, Stretch
from sync.domain.parking import ParkedEvent
from sync.domain.subscription import AckOutcome, AckStatus, Subscription, SubscriptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """An event to set aside.

    Attributes:
        first: Where the stretch begins that is done with it.
        again: It is in the parking place already, and stays there.
    """

    event: ParkedEvent
    first: int
    again: bool

    @property
    def stretch(self) -> Stretch:
        """What is done with it."""
        return self.first, self.event.seq + 1


@dataclass(slots=True, kw_only=True)
class Changes:
    """What some outcomes change.

    Attributes:
        shards: The shards that they speak of: the stream must hold every one of them.
        done: Stretches that are done, by shard.
        attempts: Events that were answered with RETRY, by shard and seq.
        parked: Set aside: all of them, or none where there is no room.
        unparked: Shard and seq of parked events that are finished.
        parked_attempts: As `attempts`, of events that are parked and come again.
    """

    shards: set[int] = field(default_factory=set)
    done: dict[int, list[Stretch]] = field(default_factory=dict)
    attempts: dict[int, dict[int, Retried]] = field(default_factory=dict)
    parked: list[Park] = field(default_factory=list)
    unparked: list[tuple[int, int]] = field(default_factory=list)
    parked_attempts: dict[tuple[int, int], Retried] = field(default_factory=dict)

    def finish(self, shard: int, stretch: Stretch) -> None:
        """The stretch is done."""
        self.shards.add(shard)
        self.done.setdefault(shard, []).append(stretch)

    def park(self, park: Park) -> None:
        """The event is set aside."""
        self.shards.add(park.event.shard)
        self.parked.append(park)

    @property
    def new_parked(self) -> int:
        """How many events need room in the parking place."""
        return sum(not park.again for park in self.parked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Changes that the stream of `delivery_epoch` asks for."""

    key: SubscriptionKey
    delivery_epoch: int
    changes: Changes


def settled(
    stored: Subscription | None, settlement: Settlement, *, parking_room: int
) -> tuple[Subscription | None, AckOutcome]:
    """The subscription after a settlement, and what the stream is told.

    Args:
        stored: The subscription; none if it is gone.
        settlement: The changes.
        parking_room: For how many more events there is room in the parking place.
    """
    if stored is None:
        return None, AckOutcome(status=AckStatus.FENCED, floors={})
    floors, changes = stored.floors, settlement.changes
    held = {shard for shard, floor in floors.items() if floor.delivery_epoch == settlement.delivery_epoch}
    if not changes.shards <= held:
        return stored, AckOutcome(status=AckStatus.FENCED, floors=_next_seqs(floors))
    full = changes.new_parked > max(0, parking_room)
    after = {**floors, **{shard: _changed(floors[shard], shard, changes, parked=not full) for shard in changes.shards}}
    outcome = AckOutcome(status=AckStatus.COMMITTED, floors=_next_seqs(after), parking_full=full)
    return replace(stored, floors=after), outcome


def _changed(floor: Floor, shard: int, changes: Changes, *, parked: bool) -> Floor:
    mine = [park.stretch for park in changes.parked if parked and park.event.shard == shard]
    return floor.finished([*changes.done.get(shard, ()), *mine]).retried(changes.attempts.get(shard, {}))


def _next_seqs(floors: Mapping[int, Floor]) -> dict[int, int]:
    return {shard: floor.next_seq for shard, floor in floors.items()}
