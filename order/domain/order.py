"""An order: lines with counters, money totals, and what lies over them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

HOLDS_MAX: Final = 16
"""At a time; the order carries them all."""


class OrderState(StrEnum):
    """Where an order stands."""

    PENDING = "PENDING"
    REJECTED = "REJECTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    PARTIALLY_CANCELED = "PARTIALLY_CANCELED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    PARTIALLY_SHIPPED = "PARTIALLY_SHIPPED"
    SHIPPED = "SHIPPED"
    PARTIALLY_DELIVERED = "PARTIALLY_DELIVERED"
    DELIVERED = "DELIVERED"
    PARTIALLY_RETURNED = "PARTIALLY_RETURNED"
    RETURNED = "RETURNED"


class CloseReason(StrEnum):
    """Why the open remainder of an order was closed."""

    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


class Line(NamedTuple):
    """One product of an order. Quantities are whole units, amounts minor units of the order's currency.

    Attributes:
        price_nanos: Price of one unit in billionths of the currency's main unit.
        filled_at_price: Of `filled`, the units filled at the line's own price since it holds; they round together.
        filled_at_price_amount: The sum of those fills' amounts.
        price_version: The order's version at which the price was amended last; 0 if it never was.
    """

    line_id: str
    product_id: str
    quantity: int
    price_nanos: int
    amount: int
    filled: int = 0
    canceled: int = 0
    shipped: int = 0
    delivered: int = 0
    return_open: int = 0
    returned: int = 0
    filled_amount: int = 0
    filled_at_price: int = 0
    filled_at_price_amount: int = 0
    price_version: int = 0

    @property
    def leaves(self) -> int:
        """Units still open."""
        return self.quantity - self.filled - self.canceled


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Keeps an order from being shipped, and filled if it says so."""

    hold_id: str
    reason_code: str
    blocks_fills: bool


class Order(NamedTuple):
    """An order as it stands after one of its events.

    Attributes:
        version: Number of events that it has had.
        state: Always `state_of` the rest.
        place_time_us: Business time of the placing.
        update_time_us: Record time of the last event.
        close_reason: Set for good once nothing is open and some units are canceled: the order is closed.
        expire_time_us: When what is still open then expires; None for never.
        market_id: The market that works the order and has the last word on a cancel; empty for none.
        cancel_requested: That market was asked to cancel and has not answered.
        authorized: Money promised, in minor units; of it, `captured` was taken; of that, `refunded` was given back.
        personal_erase_time_us: Record time of the erasure of its personal data; None if none was, or other was given.
    """

    order_id: str
    customer_id: str
    store_id: str
    currency_code: str
    lines: tuple[Line, ...]
    place_time_us: int
    update_time_us: int
    version: int = 0
    state: OrderState = OrderState.PENDING
    accepted: bool = False
    rejected: bool = False
    close_reason: CloseReason | None = None
    expire_time_us: int | None = None
    market_id: str = ""
    cancel_requested: bool = False
    holds: tuple[Hold, ...] = ()
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    personal_erase_time_us: int | None = None

    @property
    def leaves(self) -> int:
        """Units still open, over all lines."""
        return sum(line.leaves for line in self.lines)

    @property
    def due_time_us(self) -> int | None:
        """When the order will have to be expired; None for never."""
        return None if self.expire_time_us is None or not self.leaves else self.expire_time_us

    @property
    def etag(self) -> str:
        """Changes with every event."""
        return f'"{self.version}"'
