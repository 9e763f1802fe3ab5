"""Which commands make sense as an order stands; how many units they may name is for each command's own guard."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from order.domain.commands import (
    AcceptOrder,
    AmendOrder,
    ApproveReturn,
    BustFill,
    CancelOrder,
    ConfirmOrderCancel,
    EraseOrderPersonalData,
    ExpireOrder,
    HoldOrder,
    ReceiveReturn,
    RecordDelivery,
    RecordFill,
    RecordPayment,
    RecordRefund,
    RecordShipment,
    RejectOrder,
    RejectOrderCancel,
    RejectReturn,
    ReleaseOrderHold,
    RequestReturn,
)
from order.domain.errors import (
    ActionNotAllowedError,
    OrderClosedError,
    OrderHeldError,
    OrderStateConflictError,
)
from order.domain.order import HOLDS_MAX, Order, OrderState
from order.domain.state import totals_of


class Standing(NamedTuple):
    """What of an order decides which commands make sense."""

    pending: bool
    accepted: bool
    closed: bool
    open: bool
    unshipped: bool
    undelivered: bool
    returnable: bool
    return_open: bool
    cancel_requested: bool
    held: bool
    fills_held: bool
    holds_left: bool
    refundable: bool


def standing_of(order: Order) -> Standing:
    """How the order stands. Each line's counters are in sequence, so that sums tell as much as lines do."""
    quantity, filled, canceled, shipped, delivered, return_open, returned = totals_of(order)
    return Standing(
        pending=order.state is OrderState.PENDING,
        accepted=order.accepted,
        closed=order.close_reason is not None,
        open=quantity > filled + canceled,
        unshipped=filled > shipped,
        undelivered=shipped > delivered,
        returnable=delivered > returned + return_open,
        return_open=return_open > 0,
        cancel_requested=order.cancel_requested,
        held=bool(order.holds),
        fills_held=bool(order.holds) and any(hold.blocks_fills for hold in order.holds),
        holds_left=len(order.holds) < HOLDS_MAX,
        refundable=order.captured > order.refunded,
    )


def allowed_actions(order: Order) -> tuple[str, ...]:
    """The names of the commands that some content would make legal now and that take the order further.

    Neither fills that come late are among them, nor what always is possible and is no step of the order's.
    """
    return _allowed(standing_of(order))


def refusal(
    order: Order,
    command: Any,  # noqa: ANN401 - any command but PlaceOrder
    *,
    late_fills: bool,
) -> ActionNotAllowedError | None:
    """Why the command makes no sense as the order stands; None if it does.

    Where late fills are taken, one of a closed order is judged like any other.
    """
    standing = standing_of(order)
    is_fill = isinstance(command, RecordFill)
    judged = standing._replace(closed=False) if is_fill and late_fills else standing
    legal = _LEGAL[type(command)]
    if legal(judged):
        return None
    action = type(command).__name__
    kind: type[ActionNotAllowedError] = OrderStateConflictError
    if legal(judged._replace(held=False, fills_held=False)):
        kind = OrderHeldError
    elif is_fill and standing.accepted:
        kind = OrderClosedError
    return kind(order, action, _allowed(standing))


@cache  # there are few ways to stand, and every event asks
def _allowed(standing: Standing) -> tuple[str, ...]:
    return tuple(
        kind.__name__
        for kind, legal in _LEGAL.items()
        if kind not in _NO_STEPS and legal(standing) and (standing.open or kind not in _NEED_OPEN_UNITS)
    )


# To cancel or to fill what is no longer open is too late, or too much, rather than a conflict with the state.
_NEED_OPEN_UNITS: Final = frozenset({CancelOrder, ConfirmOrderCancel, RecordFill})

_NO_STEPS: Final = frozenset({ExpireOrder, EraseOrderPersonalData})

_LEGAL: Final[Mapping[type[Any], Callable[[Standing], bool]]] = {
    AcceptOrder: lambda order: order.pending,
    RejectOrder: lambda order: order.pending,
    AmendOrder: lambda order: order.open and not order.cancel_requested,
    CancelOrder: lambda order: not order.closed and not order.cancel_requested,
    ConfirmOrderCancel: lambda order: order.cancel_requested,
    RejectOrderCancel: lambda order: order.cancel_requested,
    ExpireOrder: lambda order: order.open,
    RecordFill: lambda order: order.accepted and not order.closed and not order.fills_held,
    BustFill: lambda order: order.unshipped,
    HoldOrder: lambda order: (order.open or order.unshipped) and order.holds_left,
    ReleaseOrderHold: lambda order: order.held,
    RecordShipment: lambda order: order.unshipped and not order.held,
    RecordDelivery: lambda order: order.undelivered,
    RequestReturn: lambda order: order.returnable,
    ApproveReturn: lambda order: order.return_open,
    RejectReturn: lambda order: order.return_open,
    ReceiveReturn: lambda order: order.return_open,
    RecordPayment: lambda _order: True,
    RecordRefund: lambda order: order.refundable,
    EraseOrderPersonalData: lambda _order: True,
}
