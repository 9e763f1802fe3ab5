"""What the demo counts on both sides: once from the file by DuckDB, once from the services by their RPCs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple


class Total(NamedTuple):
    """A number of units, orders or events, and what they cost in cents."""

    units: int = 0
    cents: int = 0

    def plus(self, units: int, cents: int) -> "Total":
        """With more of both."""
        return Total(self.units + units, self.cents + cents)


NOTHING: Final = Total()
Transition = tuple[str, str, str]  # the day, the state before or "", the state after


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The totals of a replay.

    Attributes:
        orders: Orders placed.
        lines: Their lines.
        placed: Of all lines.
        canceled: Of the lines that were canceled.
        states: Orders by state, such as "DELIVERED".
        customers: Placed, by customer.
        products: Placed, by product.
        holdings: Filled, by customer and product; what was only canceled is left out.
        cash: Cents spent on filled units, by customer; zeros are left out.
        exposures: Cents that filled units cost, by customer and currency; zeros are there.
        days: Orders placed and their total, by day of business time and currency.
        transitions: Events, by transition.
        funnel: Orders that ever reached each stage, by its name.
        events: Events in the log.
    """

    orders: int
    lines: int
    placed: Total
    canceled: Total
    states: Mapping[str, int]
    customers: Mapping[str, Total]
    products: Mapping[str, Total]
    holdings: Mapping[tuple[str, str], Total]
    cash: Mapping[str, int]
    exposures: Mapping[tuple[str, str], int]
    days: Mapping[tuple[str, str], Total]
    transitions: Mapping[Transition, int]
    funnel: Mapping[str, int]
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What cannot be ordered: a line's quantity is above 0.

    Attributes:
        rows: Rows of quantity 0.
        cents: Their sales value.
        baskets: Baskets that hold nothing else, and so become no order.
    """

    rows: int
    cents: int
    baskets: int
