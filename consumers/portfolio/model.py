"""The fold: what an order means for its customer, and what changes when the order changes.

A holding or a balance is the sum of what the orders contribute to it. An order's contribution is a function of the
order as it stands, whatever kind of event brought it there; a new version replaces the contribution of the one before.
Sums do not depend on the order of their terms, so neither does the portfolio on how the shards interleave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from consumers.sums import Sums
from infra.kernel.money import amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One product of an order, with the counters that the portfolio looks at. Quantities are whole units."""

    product_id: str
    filled: int
    returned: int
    leaves: int
    price_nanos: int
    filled_minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An order after one of its events."""

    customer_id: str
    currency_code: str
    lines: Sequence[Line]


class HoldingKey(NamedTuple):
    """Whose units of what, bought in which currency."""

    customer_id: str
    product_id: str
    currency_code: str


class BalanceKey(NamedTuple):
    """Whose money in which currency."""

    customer_id: str
    currency_code: str


class Holding(NamedTuple):
    """Units held and open, and what the filled ones cost in minor units; also a difference of two holdings."""

    quantity: int = 0
    open_quantity: int = 0
    cost: int = 0


class Balance(NamedTuple):
    """Money spent on filled units and committed to open ones, in minor units; also a difference of two balances."""

    spent: int = 0
    committed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one order adds to the portfolio."""

    holdings: Mapping[HoldingKey, Holding] = field(default_factory=dict)
    balances: Mapping[BalanceKey, Balance] = field(default_factory=dict)


NOTHING: Final = Contribution()


def contribution(order: Snapshot) -> Contribution:
    """What the order adds as it stands. Lines of one product add up."""
    holdings: Sums[HoldingKey, Holding] = Sums(Holding)
    balances: Sums[BalanceKey, Balance] = Sums(Balance)
    owner = BalanceKey(order.customer_id, order.currency_code)
    balances.add(owner, Balance())
    for line in order.lines:
        held = Holding(line.filled - line.returned, line.leaves, line.filled_minor_units)
        holdings.add(HoldingKey(order.customer_id, line.product_id, order.currency_code), held)
        committed = amount(line.leaves, line.price_nanos, order.currency_code)
        balances.add(owner, Balance(line.filled_minor_units, committed))
    return Contribution(holdings=holdings, balances=balances)


class Change:
    """The sum of what some orders' new contributions change."""

    def __init__(self) -> None:
        self.holdings: Sums[HoldingKey, Holding] = Sums(Holding)
        self.balances: Sums[BalanceKey, Balance] = Sums(Balance)

    def replace(self, before: Contribution, after: Contribution) -> None:
        """An order contributes `after` instead of `before`."""
        self.holdings.replace(before.holdings, after.holdings)
        self.balances.replace(before.balances, after.balances)


Entry = tuple[HoldingKey, Holding] | tuple[BalanceKey, Balance]
