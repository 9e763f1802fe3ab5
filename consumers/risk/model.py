"""The fold: what an order exposes to its customer, as the order stands after any of its events.

An exposure is the sum of what the customer's orders expose; a new version of an order replaces what the one before did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from infra.kernel.money import amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What Risk looks at in one line of an order. Quantities are whole units."""

    leaves: int
    price_nanos: int
    filled_minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An order after one of its events."""

    customer_id: str
    currency_code: str
    lines: Sequence[Line]


class ExposureKey(NamedTuple):
    """Whose exposure in which currency."""

    customer_id: str
    currency_code: str


class Exposure(NamedTuple):
    """What open units would cost and what filled ones did, in minor units; also a difference of two exposures."""

    open_notional: int = 0
    filled_amount: int = 0

    @property
    def gross(self) -> int:
        """Both together."""
        return self.open_notional + self.filled_amount


Contribution = dict[ExposureKey, Exposure]
"""What one order adds: one entry, or none for an order that is not known yet."""


def contribution(order: Snapshot) -> Contribution:
    """What the order adds as it stands. Each line is rounded by itself, as its own amount is."""
    open_notional = sum(amount(line.leaves, line.price_nanos, order.currency_code) for line in order.lines)
    filled_amount = sum(line.filled_minor_units for line in order.lines)
    return {ExposureKey(order.customer_id, order.currency_code): Exposure(open_notional, filled_amount)}
