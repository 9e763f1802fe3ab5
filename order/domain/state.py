"""The state of an order: a pure function of its counters and of how it was closed."""

from collections.abc import Callable
from operator import attrgetter
from typing import Final, NamedTuple

from order.domain.order import CloseReason, Order, OrderState


class Totals(NamedTuple):
    """The counters of all lines together."""

    quantity: int
    filled: int
    canceled: int
    shipped: int
    delivered: int
    return_open: int
    returned: int

    @property
    def leaves(self) -> int:
        """Units still open."""
        return self.quantity - self.filled - self.canceled


def totals_of(order: Order) -> Totals:
    """The order's counters, summed over its lines."""
    quantity = filled = canceled = shipped = delivered = return_open = returned = 0
    for line in order.lines:
        quantity += line.quantity
        filled += line.filled
        canceled += line.canceled
        shipped += line.shipped
        delivered += line.delivered
        return_open += line.return_open
        returned += line.returned
    return Totals(quantity, filled, canceled, shipped, delivered, return_open, returned)


# What has gone furthest decides: first the units that came back, then those delivered, then those shipped.
_PROGRESS: Final[tuple[tuple[Callable[[Totals], int], OrderState, OrderState], ...]] = (
    (attrgetter("returned"), OrderState.RETURNED, OrderState.PARTIALLY_RETURNED),
    (attrgetter("delivered"), OrderState.DELIVERED, OrderState.PARTIALLY_DELIVERED),
    (attrgetter("shipped"), OrderState.SHIPPED, OrderState.PARTIALLY_SHIPPED),
)


def state_of(order: Order) -> OrderState:
    """The state that follows from the counters and from how the order was closed."""
    return _state(order, totals_of(order))


def with_state(order: Order) -> Order:
    """The order with what follows from the rest of it: its state, and that it is closed.

    It is closed once nothing is open and some units are canceled, and stays so: units of a fill that is busted later
    are canceled, too.
    """
    totals = totals_of(order)
    if totals.canceled and not totals.leaves and order.close_reason is None:
        order = order._replace(close_reason=CloseReason.CANCELED)
    state = _state(order, totals)
    return order if state is order.state else order._replace(state=state)


def _state(order: Order, totals: Totals) -> OrderState:
    leaves = totals.leaves
    if order.rejected:
        return OrderState.REJECTED
    if leaves and not order.accepted:
        return OrderState.PENDING
    for counter, complete, partial in _PROGRESS:
        units = counter(totals)
        if units:
            return complete if units == totals.filled and not leaves else partial
    if leaves:
        return OrderState.PARTIALLY_FILLED if totals.filled else OrderState.ACCEPTED
    if not totals.filled:
        return OrderState.EXPIRED if order.close_reason is CloseReason.EXPIRED else OrderState.CANCELED
    return OrderState.PARTIALLY_CANCELED if totals.canceled else OrderState.FILLED
