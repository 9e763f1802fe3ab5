"""Every command on order "o-1", with what a test does not care about filled in."""

from typing import Final

from order.domain.commands import (
    AcceptOrder,
    AmendOrder,
    Amount,
    ApproveReturn,
    BustFill,
    CancelOrder,
    ConfirmOrderCancel,
    Disposition,
    EraseOrderPersonalData,
    ExpireOrder,
    FillLine,
    HoldOrder,
    LineAmendment,
    PaymentKind,
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
    UnitPrice,
)
from tests.harness.orders import units

MARKET: Final = "m-1"
ACCEPT: Final = AcceptOrder(order_id="o-1")
REJECT: Final = RejectOrder(order_id="o-1", reason_code="OUT_OF_STOCK")
CANCEL: Final = CancelOrder(order_id="o-1", lines=())
CONFIRM_CANCEL: Final = ConfirmOrderCancel(order_id="o-1", market_id=MARKET, lines=())
ERASE: Final = EraseOrderPersonalData(order_id="o-1")
REJECT_CANCEL: Final = RejectOrderCancel(order_id="o-1", market_id=MARKET, reason_code="TOO_LATE")


def cancel(*quantities: int) -> CancelOrder:
    """Cancels these units."""
    return CancelOrder(order_id="o-1", lines=units(*quantities))


def confirm_cancel(*quantities: int) -> ConfirmOrderCancel:
    """The market has canceled these units."""
    return ConfirmOrderCancel(order_id="o-1", market_id=MARKET, lines=units(*quantities))


def expire(time_us: int) -> ExpireOrder:
    """The timer looks at this time."""
    return ExpireOrder(order_id="o-1", time_us=time_us)


def amend(*quantities: int, nanos: int | None = None) -> AmendOrder:
    """These units per line from now on (lines of 0 as they are), at another price if one is given."""
    price = None if nanos is None else UnitPrice(currency_code="USD", nanos=nanos)
    lines = tuple(
        LineAmendment(line_id=each.line_id, quantity=each.quantity, price=price) for each in units(*quantities)
    )
    return AmendOrder(order_id="o-1", paths=("lines",), lines=lines)


def fill(*quantities: int, nanos: int | None = None, record_id: str = "f-1") -> RecordFill:
    """Fills these units, at the lines' own price unless one is given."""
    price = None if nanos is None else UnitPrice(currency_code="USD", nanos=nanos)
    lines = tuple(FillLine(line_id=each.line_id, quantity=each.quantity, price=price) for each in units(*quantities))
    return RecordFill(order_id="o-1", record_id=record_id, lines=lines)


def bust(record_id: str = "f-1") -> BustFill:
    """Takes the fill back."""
    return BustFill(order_id="o-1", record_id=record_id)


def hold(record_id: str = "h-1", *, blocks_fills: bool = False) -> HoldOrder:
    """Puts a hold on."""
    return HoldOrder(order_id="o-1", record_id=record_id, reason_code="FRAUD_REVIEW", blocks_fills=blocks_fills)


def release(record_id: str = "h-1") -> ReleaseOrderHold:
    """Takes the hold off."""
    return ReleaseOrderHold(order_id="o-1", record_id=record_id)


def ship(*quantities: int, record_id: str = "s-1") -> RecordShipment:
    """Ships these units."""
    return RecordShipment(
        order_id="o-1", record_id=record_id, lines=units(*quantities), carrier="DHL", tracking_number="1"
    )


def deliver(*quantities: int, record_id: str = "d-1", shipment_id: str = "s-1") -> RecordDelivery:
    """Delivers these units of the shipment."""
    return RecordDelivery(order_id="o-1", record_id=record_id, shipment_id=shipment_id, lines=units(*quantities))


def request_return(*quantities: int, record_id: str = "r-1") -> RequestReturn:
    """Asks to give these units back."""
    return RequestReturn(order_id="o-1", record_id=record_id, lines=units(*quantities), reason_code="DAMAGED")


def approve_return(return_id: str = "r-1") -> ApproveReturn:
    """Grants the return."""
    return ApproveReturn(order_id="o-1", return_id=return_id)


def reject_return(return_id: str = "r-1") -> RejectReturn:
    """Refuses the return."""
    return RejectReturn(order_id="o-1", return_id=return_id, reason_code="TOO_LATE")


def receive_return(*quantities: int, return_id: str = "r-1") -> ReceiveReturn:
    """Restocks these units of the return, or all that are open."""
    lines = units(*quantities)
    return ReceiveReturn(order_id="o-1", return_id=return_id, lines=lines, disposition=Disposition.RESTOCK)


def pay(kind: PaymentKind, minor_units: int, *, record_id: str = "p-1", currency_code: str = "USD") -> RecordPayment:
    """Records a payment."""
    amount = Amount(currency_code=currency_code, minor_units=minor_units)
    return RecordPayment(order_id="o-1", record_id=record_id, payment=kind, amount=amount)


def refund(minor_units: int, *, record_id: str = "x-1") -> RecordRefund:
    """Records a refund."""
    return RecordRefund(
        order_id="o-1", record_id=record_id, amount=Amount(currency_code="USD", minor_units=minor_units)
    )
