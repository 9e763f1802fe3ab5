"""Money for an order. It moves independently of the goods: a canceled order may be refunded, a pending one paid."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from order.domain.changes import Change, OrderPaymentUpdated, OrderRefunded
from order.domain.commands import Amount, PaymentKind, RecordPayment, RecordRefund
from order.domain.errors import MoneyError, OvercaptureError, OverrefundError
from order.domain.lines import Effect, Given
from order.domain.order import Order

PAID_MAX: Final = 10**18  # minor units of one order, inside 64 bits


def _pay(order: Order, command: RecordPayment, _given: Given) -> list[Change]:
    _check_currency(order, command.amount, "payment.amount")
    units = command.amount.minor_units
    left = order.authorized - order.captured
    if command.payment is PaymentKind.CAPTURE:
        if units > left:
            raise OvercaptureError(order, units, left)
    elif order.authorized + units > PAID_MAX:
        raise MoneyError("payment.amount", f"would take the order above {PAID_MAX} minor units")
    return [OrderPaymentUpdated(command=command)]


def _refund(order: Order, command: RecordRefund, _given: Given) -> list[Change]:
    _check_currency(order, command.amount, "refund.amount")
    left = order.captured - order.refunded
    if command.amount.minor_units > left:
        raise OverrefundError(order, command.amount.minor_units, left)
    return [OrderRefunded(command=command)]


def _check_currency(order: Order, money: Amount, path: str) -> None:
    if money.currency_code != order.currency_code:
        raise MoneyError(path, "must be in the order's currency")


def _paid(order: Order, change: OrderPaymentUpdated) -> Effect:
    units, kind = change.command.amount.minor_units, change.command.payment
    return Effect(
        authorized=order.authorized + units * (kind is not PaymentKind.CAPTURE),
        captured=order.captured + units * (kind is not PaymentKind.AUTHORIZE),
    )


def _refunded(order: Order, change: OrderRefunded) -> Effect:
    return Effect(refunded=order.refunded + change.command.amount.minor_units)


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    RecordPayment: _pay,
    RecordRefund: _refund,
}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    OrderPaymentUpdated: _paid,
    OrderRefunded: _refunded,
}
