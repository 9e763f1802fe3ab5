"""Durable subscriptions: what a stream that takes over is given, and what an ack does to the floor."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sync.domain.done_set import Floor
from sync.domain.errors import EpochNeverGivenError, SubscriptionFilterChangedError


class AckStatus(StrEnum):
    """What became of an ack. OTHER_FILTER is for who acks from outside a stream: it is told as an error."""

    COMMITTED = "COMMITTED"
    FENCED = "FENCED"
    ALREADY = "ALREADY"
    OUT_OF_ORDER = "OUT_OF_ORDER"
    UNKNOWN = "UNKNOWN"
    PARKING_FULL = "PARKING_FULL"
    OTHER_FILTER = "OTHER_FILTER"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionKey:
    """A subscription's name is its principal's own."""

    principal: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is stored of a subscription.

    Attributes:
        delivery_epoch: Of its newest opening.
        first_epoch: Of its first opening, or what that will take. Below that where the opener had a checkpoint:
            something was sent before, though nobody here knows of it.
    """

    log_epoch: str
    filter: str
    filter_hash: bytes
    delivery_epoch: int = 0
    first_epoch: int = 0
    floors: Mapping[int, Floor] = field(default_factory=dict)

    def next_seq(self, shard: int) -> int | None:
        """The floor of a shard, if it ever had one."""
        floor = self.floors.get(shard)
        return None if floor is None else floor.next_seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A stream that opens a subscription: its filter, and where the shards start that have no floor yet.

    Attributes:
        checkpoint_epoch: The new epoch is above it, too: what is stored may be younger than the caller's checkpoint.
        opened_us: When, by the wall clock. Epochs are counted, and a server needs far more than a microsecond for each:
            one that is above the time was never given, but for those after a claim of this very moment.
        resets: All of its shards start there: what was done before is forgotten.
    """

    key: SubscriptionKey
    log_epoch: str
    filter: str
    filter_hash: bytes
    start: Mapping[int, int]
    checkpoint_epoch: int = 0
    opened_us: int = 0
    resets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Everything below `through` is done, says the stream of `delivery_epoch`.

    Attributes:
        filter_hash: Of the filter that it was reached under; empty where that is not said.
    """

    key: SubscriptionKey
    ack_id: str
    delivery_epoch: int
    through: Mapping[int, int]
    filter_hash: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class AckOutcome:
    """What became of an ack, and the floors now.

    Attributes:
        parking_full: There was no room for what was to be parked: that, and nothing else, has not happened.
    """

    status: AckStatus
    floors: Mapping[int, int]
    parking_full: bool = False


def retiring(subscription: Subscription) -> int:
    """The epoch that a deletion takes, as a seek would: what is made later begins there, above all that were given."""
    return subscription.delivery_epoch + 1


def opened(stored: Subscription | None, opening: Opening, retired_epoch: int) -> Subscription:
    """The subscription after an opening: one epoch further, and the opening's shards belong to it.

    Args:
        stored: The subscription; none if it is new.
        opening: The opening.
        retired_epoch: The highest epoch that a deletion took: a new subscription goes on from there.

    Raises:
        EpochNeverGivenError: The checkpoint's epoch is above the time, and above what was given here.
        SubscriptionFilterChangedError: It was made with another filter.
    """
    if stored is None:
        stored = _blank(opening, retired_epoch)
    elif stored.log_epoch != opening.log_epoch:
        # The floors of another log mean nothing; the epoch goes on, so that its streams stay fenced.
        stored = _blank(opening, stored.delivery_epoch)
    elif stored.filter_hash != opening.filter_hash:
        raise SubscriptionFilterChangedError(opening.key.name, stored.filter, opening.filter)
    if opening.checkpoint_epoch > max(stored.delivery_epoch, opening.opened_us):
        raise EpochNeverGivenError(opening.checkpoint_epoch)
    epoch = max(stored.delivery_epoch, opening.checkpoint_epoch) + 1
    taken = {}
    for shard, start in opening.start.items():
        floor = None if opening.resets else stored.floors.get(shard)
        taken[shard] = replace(floor or Floor(next_seq=start, delivery_epoch=epoch), delivery_epoch=epoch)
    first_epoch = stored.first_epoch or opening.checkpoint_epoch or epoch
    return replace(stored, delivery_epoch=epoch, first_epoch=first_epoch, floors={**stored.floors, **taken})


def _blank(opening: Opening, delivery_epoch: int) -> Subscription:
    return Subscription(
        log_epoch=opening.log_epoch,
        filter=opening.filter,
        filter_hash=opening.filter_hash,
        delivery_epoch=delivery_epoch,
    )


def created(stored: Subscription | None, opening: Opening, retired_epoch: int) -> Subscription:
    """The subscription after it was made; one that is there stays as it is. Arguments as in `opened`.

    Raises:
        SubscriptionFilterChangedError: It was made with another filter.
    """
    after = opened(stored, opening, retired_epoch)
    if stored is not None and stored.log_epoch == opening.log_epoch:
        return stored
    epoch = retired_epoch if stored is None else stored.delivery_epoch
    floors = {shard: replace(floor, delivery_epoch=epoch) for shard, floor in after.floors.items()}
    return replace(after, delivery_epoch=epoch, first_epoch=epoch + 1, floors=floors)


def sought(stored: Subscription, log_epoch: str, floors: Mapping[int, int]) -> Subscription:
    """The subscription after a seek: every stream of it is fenced, also in the shards whose floor stays.

    Where a floor moves, what was done above it and how often it was tried is forgotten.
    """
    epoch = stored.delivery_epoch + 1
    kept = stored.floors if stored.log_epoch == log_epoch else {}
    after = {shard: replace(floor, delivery_epoch=epoch) for shard, floor in kept.items()}
    after |= {shard: Floor(next_seq=seq, delivery_epoch=epoch) for shard, seq in floors.items()}
    first_epoch = (
        max(stored.first_epoch, epoch + 1) if stored.delivery_epoch < stored.first_epoch else stored.first_epoch
    )
    return replace(stored, log_epoch=log_epoch, delivery_epoch=epoch, first_epoch=first_epoch, floors=after)


def acked(stored: Subscription | None, ack: Ack) -> tuple[Subscription | None, AckOutcome]:
    """The subscription after an ack, and what the stream is told. A floor never goes back."""
    if stored is None:
        return None, AckOutcome(status=AckStatus.FENCED, floors={})
    floors = {shard: floor.next_seq for shard, floor in stored.floors.items()}
    if any(stored.floors[shard].delivery_epoch != ack.delivery_epoch for shard in ack.through if shard in floors):
        return stored, AckOutcome(status=AckStatus.FENCED, floors=floors)
    if ack.filter_hash not in (b"", stored.filter_hash):
        return stored, AckOutcome(status=AckStatus.OTHER_FILTER, floors=floors)
    moved = {shard: through for shard, through in ack.through.items() if through > floors.get(shard, through)}
    if not moved:
        return stored, AckOutcome(status=AckStatus.ALREADY, floors=floors)
    after = {shard: stored.floors[shard].finished([(0, seq)]) for shard, seq in moved.items()}
    now = {**stored.floors, **after}
    return (
        replace(stored, floors=now),
        AckOutcome(status=AckStatus.COMMITTED, floors={shard: floor.next_seq for shard, floor in now.items()}),
    )
