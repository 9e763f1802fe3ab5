"""What the business has decided once for all orders: who accepts them, and what becomes of fills that come too late."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from order.domain.commands import PlaceOrder


class Acceptance(StrEnum):
    """Who accepts an order."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"
    RISK = "risk"


class LateFills(StrEnum):
    """What becomes of a fill of an order that was closed before."""

    REFUSE = "refuse"
    ACCEPT_FROM_CANCELED = "accept-from-canceled"


class PreTradeCheck(Protocol):
    """Says whether an order may be accepted. Pure and quick: it runs inside the order's transaction."""

    def failed(self, command: PlaceOrder) -> Sequence[str]:
        """Names of the checks that the order fails; none if it may be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLimits:
    """The pre-trade check that needs nothing but the order itself.

    Attributes:
        total_max: By currency, the largest total in minor units; one that is not named has no largest.
        quantity_max: Units of one line; 0 for any.
        restricted_products: What may not be ordered.
    """

    total_max: Mapping[str, int] = field(default_factory=dict)
    quantity_max: int = 0
    restricted_products: frozenset[str] = frozenset()

    def failed(self, command: PlaceOrder) -> Sequence[str]:
        """See `PreTradeCheck.failed`."""
        total_max = self.total_max.get(command.currency_code)
        checks = {
            "ORDER_TOTAL": total_max is not None and command.total > total_max,
            "LINE_QUANTITY": 0 < self.quantity_max < max(line.quantity for line in command.lines),
            "RESTRICTED_PRODUCT": any(line.product_id in self.restricted_products for line in command.lines),
        }
        return [name for name, fails in checks.items() if fails]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the business wants its orders treated.

    Attributes:
        pre_trade: Asked about each order under `Acceptance.RISK`.
    """

    acceptance: Acceptance = Acceptance.MANUAL
    late_fills: LateFills = LateFills.REFUSE
    pre_trade: PreTradeCheck = field(default_factory=OrderLimits)
