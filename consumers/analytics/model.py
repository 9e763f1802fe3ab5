"""The fold: what one more event of an order adds to the figures of its day, and of the day of the order's placing.

Every figure is a count or a sum over events, each counted once. The only memory is which stages an order has reached;
so the figures depend on each order's own sequence, and not on how the shards interleave nor on how late events come.
"""

from dataclasses import dataclass
from datetime import date
from enum import IntFlag, auto
from typing import Final, NamedTuple

from consumers.sums import Sums

_DAY_US: Final = 86_400_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()


def day_of(time_us: int) -> str:
    """The day of UTC on which a time of the years 1 to 9999 lies, as in ISO 8601; such days sort as they follow."""
    return date.fromordinal(_EPOCH + time_us // _DAY_US).isoformat()


class Stage(IntFlag):
    """How far an order has come; the last two are ways out."""

    PLACED = auto()
    ACCEPTED = auto()
    FILLED = auto()
    SHIPPED = auto()
    DELIVERED = auto()
    CANCELED = auto()
    REJECTED = auto()


NOWHERE: Final = Stage(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An order after one of its events. Units are sums over its lines.

    Attributes:
        placed_day: Of its placing.
        total: What all its units would cost, in minor units.
        canceled: What was open was closed by a cancel.
    """

    placed_day: str
    currency_code: str
    total: int
    accepted: bool
    rejected: bool
    canceled: bool
    leaves: int
    filled: int
    shipped: int
    delivered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event: when it happened, between which states, and the order after it. The state before the first is ""."""

    day: str
    previous_state: str
    state: str
    order: Snapshot


class DayKey(NamedTuple):
    """On which day things happened."""

    day: str


class Day(NamedTuple):
    """Events that happened, and orders that were placed."""

    events: int = 0
    orders_placed: int = 0


class TransitionKey(NamedTuple):
    """On which day orders went from which state to which."""

    day: str
    previous_state: str
    state: str


class Transition(NamedTuple):
    """Events that did so."""

    events: int = 0


class PlacingKey(NamedTuple):
    """On which day orders were placed, in which currency."""

    day: str
    currency_code: str


class Placing(NamedTuple):
    """Orders, and the sum of their totals when they were placed, in minor units."""

    orders: int = 0
    gross_value: int = 0


class FunnelKey(NamedTuple):
    """On which day orders were placed."""

    day: str


class Funnel(NamedTuple):
    """Orders that have ever reached each `Stage`, in the sequence of the stages."""

    placed: int = 0
    accepted: int = 0
    filled: int = 0
    shipped: int = 0
    delivered: int = 0
    canceled: int = 0
    rejected: int = 0


def stages(order: Snapshot) -> Stage:
    """The stages that the order has reached by its counters, whatever its state is called."""
    filled = order.filled > 0 and order.leaves == 0
    shipped = filled and order.shipped == order.filled
    reached = {
        Stage.PLACED: True,
        Stage.ACCEPTED: order.accepted,
        Stage.FILLED: filled,
        Stage.SHIPPED: shipped,
        Stage.DELIVERED: shipped and order.delivered == order.filled,
        Stage.CANCELED: order.canceled and order.filled == 0,
        Stage.REJECTED: order.rejected,
    }
    return Stage(sum(stage for stage, holds in reached.items() if holds))


class Change:
    """What some events add."""

    def __init__(self) -> None:
        self.days: Sums[DayKey, Day] = Sums(Day)
        self.transitions: Sums[TransitionKey, Transition] = Sums(Transition)
        self.placings: Sums[PlacingKey, Placing] = Sums(Placing)
        self.funnels: Sums[FunnelKey, Funnel] = Sums(Funnel)

    def add(self, step: Step, reached: Stage) -> Stage:
        """Counts an event of an order that had reached some stages; returns all that it has reached now."""
        order = step.order
        now = reached | stages(order)
        self.days.add(DayKey(step.day), Day(events=1))
        self.transitions.add(TransitionKey(step.day, step.previous_state, step.state), Transition(events=1))
        if not reached:
            self.days.add(DayKey(order.placed_day), Day(orders_placed=1))
            self.placings.add(PlacingKey(order.placed_day, order.currency_code), Placing(1, order.total))
        if new := now & ~reached:
            self.funnels.add(FunnelKey(order.placed_day), Funnel(*(int(stage in new) for stage in Stage)))
        return now
