"""The model's changes as the contract's events have them."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf.message import Message
from stateset.common.v1 import money_pb2
from stateset.order.v1 import order_event_pb2 as events
from stateset.order.v1 import order_pb2

from infra.runtime.grpc.wire import timestamp_to_wire
from order.adapters.wire_order import hold_to_wire, money_to_wire
from order.adapters.wire_records import fill_to_wire, quantities_to_wire, return_to_wire, shipment_to_wire
from order.domain import changes
from order.domain.order import Hold, Order, OrderState


def change_to_wire(change: changes.Change, after: Order) -> tuple[str, Message]:
    """The field of `OrderEvent.change` that is set, and its message."""
    name, make = _CHANGES[type(change)]
    return name, make(change, after)


@cache  # few sets of paths are ever given together
def _placed(personal_paths: tuple[str, ...]) -> Message:
    return events.OrderPlaced(personal_paths=personal_paths)


def _canceled(change: changes.OrderCanceled, after: Order) -> Message:
    return events.OrderCanceled(lines=quantities_to_wire(change.lines), complete=not after.leaves)


def _terms(terms: changes.OrderTerms, currency: str) -> events.OrderTerms:
    return events.OrderTerms(
        lines=[
            events.LineTerms(
                line_id=line.line_id,
                quantity=line.quantity,
                unit_price=money_pb2.Price(currency_code=currency, nanos=line.price_nanos),
            )
            for line in terms.lines
        ],
        expire_time=None if terms.expire_time_us is None else timestamp_to_wire(terms.expire_time_us),
    )


def _amended(change: changes.OrderAmended, after: Order) -> Message:
    currency = after.currency_code
    return events.OrderAmended(
        paths=change.paths, before=_terms(change.before, currency), after=_terms(change.after, currency)
    )


def _busted(change: changes.OrderFillBusted, after: Order) -> Message:
    return events.OrderFillBusted(fill=fill_to_wire(change.fill, after.currency_code), closed=change.closed)


def _filled(change: changes.OrderFillRecorded, after: Order) -> Message:
    return events.OrderFillRecorded(fill=fill_to_wire(change.history, after.currency_code), late=change.late)


def _held(change: changes.OrderHeld, _after: Order) -> Message:
    command = change.command
    hold = Hold(hold_id=command.record_id, reason_code=command.reason_code, blocks_fills=command.blocks_fills)
    return events.OrderHeld(hold=hold_to_wire(hold))


def _shipped(change: changes.OrderShipped, after: Order) -> Message:
    return events.OrderShipped(shipment=shipment_to_wire(change.history), complete=after.state is OrderState.SHIPPED)


def _delivered(change: changes.OrderDelivered, after: Order) -> Message:
    command = change.command
    delivery = order_pb2.Delivery(
        delivery_id=command.record_id, shipment_id=command.shipment_id, lines=quantities_to_wire(command.lines)
    )
    return events.OrderDelivered(delivery=delivery, complete=after.state is OrderState.DELIVERED)


def _return_rejected(change: changes.ReturnRejected, _after: Order) -> Message:
    return events.ReturnRejected(order_return=return_to_wire(change.history), reason_code=change.reason_code)


def _received(change: changes.ReturnReceived, _after: Order) -> Message:
    return events.ReturnReceived(
        order_return=return_to_wire(change.history),
        lines=quantities_to_wire(change.lines),
        disposition=order_pb2.ReturnDisposition.Value(f"RETURN_DISPOSITION_{change.disposition}"),
    )


def _paid(change: changes.OrderPaymentUpdated, _after: Order) -> Message:
    command = change.command
    payment = order_pb2.Payment(
        payment_id=command.record_id,
        kind=order_pb2.PaymentKind.Value(f"PAYMENT_KIND_{command.payment}"),
        amount=money_to_wire(command.amount.currency_code, command.amount.minor_units),
    )
    return events.OrderPaymentUpdated(payment=payment)


def _refunded(change: changes.OrderRefunded, _after: Order) -> Message:
    command = change.command
    amount = money_to_wire(command.amount.currency_code, command.amount.minor_units)
    return events.OrderRefunded(refund=order_pb2.Refund(refund_id=command.record_id, amount=amount))


_CHANGES: Final[Mapping[type[Any], tuple[str, Callable[[Any, Order], Message]]]] = {
    changes.OrderPlaced: ("order_placed", lambda change, _after: _placed(change.command.personal_paths)),
    changes.OrderAccepted: ("order_accepted", lambda _change, _after: events.OrderAccepted()),
    changes.OrderRejected: (
        "order_rejected",
        lambda change, _after: events.OrderRejected(reason_code=change.reason_code, checks=change.checks),
    ),
    changes.OrderAmended: ("order_amended", _amended),
    changes.OrderCanceled: ("order_canceled", _canceled),
    changes.OrderCancelRequested: (
        "order_cancel_requested",
        lambda change, _after: events.OrderCancelRequested(lines=quantities_to_wire(change.lines)),
    ),
    changes.OrderCancelRejected: (
        "order_cancel_rejected",
        lambda change, _after: events.OrderCancelRejected(reason_code=change.reason_code),
    ),
    changes.OrderExpired: (
        "order_expired",
        lambda change, _after: events.OrderExpired(lines=quantities_to_wire(change.lines)),
    ),
    changes.OrderFillRecorded: ("order_fill_recorded", _filled),
    changes.OrderFillBusted: ("order_fill_busted", _busted),
    changes.OrderHeld: ("order_held", _held),
    changes.OrderHoldReleased: (
        "order_hold_released",
        lambda change, _after: events.OrderHoldReleased(hold_id=change.hold_id),
    ),
    changes.OrderShipped: ("order_shipped", _shipped),
    changes.OrderDelivered: ("order_delivered", _delivered),
    changes.ReturnRequested: (
        "return_requested",
        lambda change, _after: events.ReturnRequested(order_return=return_to_wire(change.history)),
    ),
    changes.ReturnApproved: (
        "return_approved",
        lambda change, _after: events.ReturnApproved(order_return=return_to_wire(change.history)),
    ),
    changes.ReturnRejected: ("return_rejected", _return_rejected),
    changes.ReturnReceived: ("return_received", _received),
    changes.OrderPaymentUpdated: ("order_payment_updated", _paid),
    changes.OrderRefunded: ("order_refunded", _refunded),
    changes.OrderPersonalDataErased: (
        "order_personal_data_erased",
        lambda _change, _after: events.OrderPersonalDataErased(),
    ),
}
