"""How what is open is closed: canceled at once, canceled by the market that owns the order, or expired."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from order.domain.changes import Change, OrderCanceled, OrderCancelRejected, OrderCancelRequested, OrderExpired
from order.domain.commands import (
    CancelAnswer,
    CancelOrder,
    ConfirmOrderCancel,
    ExpireOrder,
    LineQuantity,
    RejectOrderCancel,
)
from order.domain.errors import NotDueError, OrderNotFoundError, TooLateToCancelError
from order.domain.lines import Effect, Given, check_quantities, moved
from order.domain.order import CloseReason, Order


def _cancel(order: Order, command: CancelOrder, _given: Given) -> list[Change]:
    lines = _to_cancel(order, command.lines)
    return [OrderCancelRequested(lines=lines) if order.market_id else OrderCanceled(lines=lines)]


def _confirm(order: Order, command: ConfirmOrderCancel, _given: Given) -> list[Change]:
    _check_owner(order, command)
    return [OrderCanceled(lines=_to_cancel(order, command.lines))]


def _reject(order: Order, command: RejectOrderCancel, _given: Given) -> list[Change]:
    _check_owner(order, command)
    return [OrderCancelRejected(reason_code=command.reason_code)]


def _expire(order: Order, command: ExpireOrder, _given: Given) -> list[Change]:
    if order.expire_time_us is None or order.expire_time_us > command.time_us:
        raise NotDueError(order)
    return [OrderExpired(lines=_open_units(order))]


def _check_owner(order: Order, command: CancelAnswer) -> None:
    """To a market that does not own the order, there is no such order."""
    if command.market_id != order.market_id:
        raise OrderNotFoundError(order.order_id)


def _to_cancel(order: Order, asked: tuple[LineQuantity, ...]) -> tuple[LineQuantity, ...]:
    """What was asked for, or all that is open; too late if some of it no longer is, or nothing."""
    lines = asked or _open_units(order) or _all_units(order)
    check_quantities(order, lines, lambda line: line.leaves, TooLateToCancelError)
    return lines


def _open_units(order: Order) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id=line.line_id, quantity=line.leaves) for line in order.lines if line.leaves)


def _all_units(order: Order) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in order.lines)


def _canceled(order: Order, change: OrderCanceled) -> Effect:
    return Effect(lines=moved(order, change.lines, to="canceled"), cancel_requested=False)


def _requested(_order: Order, _change: OrderCancelRequested) -> Effect:
    return Effect(cancel_requested=True)


def _request_rejected(_order: Order, _change: OrderCancelRejected) -> Effect:
    return Effect(cancel_requested=False)


def _expired(order: Order, change: OrderExpired) -> Effect:
    return Effect(
        lines=moved(order, change.lines, to="canceled"), close_reason=CloseReason.EXPIRED, cancel_requested=False
    )


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    CancelOrder: _cancel,
    ConfirmOrderCancel: _confirm,
    RejectOrderCancel: _reject,
    ExpireOrder: _expire,
}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    OrderCanceled: _canceled,
    OrderCancelRequested: _requested,
    OrderCancelRejected: _request_rejected,
    OrderExpired: _expired,
}
