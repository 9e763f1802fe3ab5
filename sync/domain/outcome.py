"""What became of single events, says the subscriber, and how that was judged."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sync.domain.lines import Delivery
from sync.domain.settlement import Changes
from sync.domain.subscription import AckStatus


class Outcome(StrEnum):
    """What became of one event, says the subscriber."""

    DONE = "DONE"
    RETRY = "RETRY"
    PARK = "PARK"
    PARK_KEY = "PARK_KEY"
    SKIP = "SKIP"


PARKS: Final = frozenset({Outcome.PARK, Outcome.PARK_KEY})
"""What an event is set aside by, if there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AckItem:
    """One event's outcome. `delay_seconds` is RETRY's, `reason` that of what is parked."""

    shard: int
    seq: int
    outcome: Outcome
    delay_seconds: float = 0.0
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """How the items of an ack were judged; those without a status share the fate of the changes."""

    items: Sequence[AckItem]
    statuses: list[AckStatus | None] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    finishing: list[Delivery] = field(default_factory=list)
    parking: list[Delivery] = field(default_factory=list)

    @property
    def moves_parked(self) -> bool:
        """Whether anything goes into the parking place or out of it."""
        return bool(self.changes.parked or self.changes.unparked)

    def results(self, status: AckStatus, *, parking_full: bool) -> list[AckStatus]:
        """By item, what became of it, once it is known what became of the changes."""
        parks = AckStatus.PARKING_FULL if parking_full else status
        return [
            judged or (parks if item.outcome in PARKS else status)
            for item, judged in zip(self.items, self.statuses, strict=True)
        ]
