"""What clients may ask for: every kind of command, on orders that several of them share."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from stateset.common.v1.money_pb2 import Money, Price
from stateset.order.v1 import order_service_pb2 as orders
from stateset.order.v1.order_pb2 import PAYMENT_KIND_SALE, Fill, FillLine, Hold, LineQuantity, Payment

from tests.guarantees.history import OK, REFUSED, Answered, Seqs

CUSTOMERS: Final = ("c-1", "c-2", "c-3")
_UNITS: Final = 60
_LINE: Final = "1"
_CURRENCY: Final = "USD"
_IDS: Final = 8  # of fills, holds and payments of one order: few, so that clients use the same ones
_DONE_VERSION: Final = 40  # then others get their turn


@dataclass(slots=True)
class SharedOrder:
    """An order that several clients work on, as far as any of them knows it.

    Attributes:
        version: The newest version that an answer has shown.
        next_seqs: A position that covers it; empty while there is none.
    """

    order_id: str
    version: int = 0
    next_seqs: Seqs = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether it has had enough commands."""
        return self.version >= _DONE_VERSION

    def learn(self, answered: Answered, next_seqs: Seqs) -> None:
        """Takes in what an answer shows."""
        if answered.outcome in (OK, REFUSED) and answered.version > self.version:
            self.version = answered.version
            self.next_seqs = next_seqs


class Wish(NamedTuple):
    """A command to send: its RPC, its request, and the version that guards it, if one does."""

    method: str
    request: Any
    guard: int


def wish(order: SharedOrder, request_id: str, drawn: random.Random) -> Wish:
    """Any command on the order; its first one places it."""
    if not order.version:
        return Wish("PlaceOrder", _place(order.order_id, request_id, drawn), 0)
    [method] = drawn.choices(list(_MAKERS), weights=[weight for weight, _ in _MAKERS.values()])
    _, make = _MAKERS[method]
    request = make(order.order_id, drawn)
    request.request_id = request_id
    request.order_id = order.order_id
    guard = order.version if drawn.random() < _GUARDED else 0
    if guard:
        request.etag = etag_of(guard)
    return Wish(method, request, guard)


def etag_of(version: int) -> str:
    """The etag of a version."""
    return f'"{version}"'


def _place(order_id: str, request_id: str, drawn: random.Random) -> orders.PlaceOrderRequest:
    price = Price(currency_code=_CURRENCY, nanos=1_500_000_000)
    return orders.PlaceOrderRequest(
        request_id=request_id,
        order_id=order_id,
        customer_id=drawn.choice(CUSTOMERS),
        currency_code=_CURRENCY,
        lines=[orders.NewOrderLine(line_id=_LINE, product_id="p-1", quantity=_UNITS, unit_price=price)],
    )


def _accept(_order_id: str, _drawn: random.Random) -> orders.AcceptOrderRequest:
    return orders.AcceptOrderRequest()


def _fill(_order_id: str, drawn: random.Random) -> orders.RecordFillRequest:
    fill_id = f"f-{drawn.randrange(_IDS * 2)}"
    return orders.RecordFillRequest(fill=Fill(fill_id=fill_id, lines=[FillLine(line_id=_LINE, quantity=2)]))


def _cancel(_order_id: str, drawn: random.Random) -> orders.CancelOrderRequest:
    return orders.CancelOrderRequest(lines=[LineQuantity(line_id=_LINE, quantity=drawn.choice((1, 1, 2, 3)))])


def _hold(_order_id: str, drawn: random.Random) -> orders.HoldOrderRequest:
    hold = Hold(hold_id=f"h-{drawn.randrange(_IDS)}", reason_code="REVIEW", blocks_fills=drawn.random() < _BLOCKING)
    return orders.HoldOrderRequest(hold=hold)


def _release(_order_id: str, drawn: random.Random) -> orders.ReleaseOrderHoldRequest:
    return orders.ReleaseOrderHoldRequest(hold_id=f"h-{drawn.randrange(_IDS)}")


def _pay(_order_id: str, drawn: random.Random) -> orders.RecordPaymentRequest:
    amount = Money(currency_code=_CURRENCY, minor_units=100)
    payment = Payment(payment_id=f"p-{drawn.randrange(_IDS)}", kind=PAYMENT_KIND_SALE, amount=amount)
    return orders.RecordPaymentRequest(payment=payment)


_GUARDED: Final = 0.3
_BLOCKING: Final = 0.3
_MAKERS: Final[Mapping[str, tuple[int, Callable[[str, random.Random], Any]]]] = {
    "AcceptOrder": (3, _accept),
    "RecordFill": (8, _fill),
    "CancelOrder": (6, _cancel),
    "HoldOrder": (3, _hold),
    "ReleaseOrderHold": (3, _release),
    "RecordPayment": (3, _pay),
}
