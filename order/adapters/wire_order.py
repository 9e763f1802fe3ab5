"""Between the contract's order and the model's."""

from functools import cache
from typing import Final

from stateset.common.v1 import money_pb2
from stateset.order.v1 import order_pb2

from infra.runtime.grpc.wire import set_timestamp, timestamp_from_wire
from order.domain.legality import allowed_actions
from order.domain.order import CloseReason, Hold, Line, Order, OrderState

STATE_TO_WIRE: Final = {state: order_pb2.OrderState.Value(f"ORDER_STATE_{state}") for state in OrderState}
_STATE_FROM_WIRE: Final = {number: state for state, number in STATE_TO_WIRE.items()}
_CLOSE_TO_WIRE: Final[dict[CloseReason | None, order_pb2.CloseReason.ValueType]] = {
    None: order_pb2.CLOSE_REASON_UNSPECIFIED,
    **{reason: order_pb2.CloseReason.Value(f"CLOSE_REASON_{reason}") for reason in CloseReason},
}
_CLOSE_FROM_WIRE: Final = {number: reason for reason, number in _CLOSE_TO_WIRE.items()}
_ACTION_TO_WIRE: Final = {
    "AcceptOrder": order_pb2.ORDER_ACTION_ACCEPT,
    "RejectOrder": order_pb2.ORDER_ACTION_REJECT,
    "AmendOrder": order_pb2.ORDER_ACTION_AMEND,
    "CancelOrder": order_pb2.ORDER_ACTION_CANCEL,
    "ConfirmOrderCancel": order_pb2.ORDER_ACTION_CONFIRM_CANCEL,
    "RejectOrderCancel": order_pb2.ORDER_ACTION_REJECT_CANCEL,
    "RecordFill": order_pb2.ORDER_ACTION_RECORD_FILL,
    "BustFill": order_pb2.ORDER_ACTION_BUST_FILL,
    "HoldOrder": order_pb2.ORDER_ACTION_HOLD,
    "ReleaseOrderHold": order_pb2.ORDER_ACTION_RELEASE_HOLD,
    "RecordShipment": order_pb2.ORDER_ACTION_RECORD_SHIPMENT,
    "RecordDelivery": order_pb2.ORDER_ACTION_RECORD_DELIVERY,
    "RequestReturn": order_pb2.ORDER_ACTION_REQUEST_RETURN,
    "ApproveReturn": order_pb2.ORDER_ACTION_APPROVE_RETURN,
    "RejectReturn": order_pb2.ORDER_ACTION_REJECT_RETURN,
    "ReceiveReturn": order_pb2.ORDER_ACTION_RECEIVE_RETURN,
    "RecordPayment": order_pb2.ORDER_ACTION_RECORD_PAYMENT,
    "RecordRefund": order_pb2.ORDER_ACTION_RECORD_REFUND,
}
_UNUSED: Final = (None, "", (), 0, None)


def order_to_wire(order: Order) -> order_pb2.Order:
    """The order as a message, without personal data."""
    message = order_pb2.Order()
    message.order_id = order.order_id
    message.version = order.version
    message.state = STATE_TO_WIRE[order.state]
    message.customer_id = order.customer_id
    message.store_id = order.store_id
    message.currency_code = order.currency_code
    total = filled_total = 0
    lines = message.lines  # a part that is asked for twice is made twice
    for line in order.lines:
        _set_line(lines.add(), line, order.currency_code)
        total += line.amount
        filled_total += line.filled_amount
    set_money(message.total, order.currency_code, total)
    set_money(message.filled_total, order.currency_code, filled_total)
    message.etag = order.etag
    message.accepted = order.accepted
    message.rejected = order.rejected
    message.close_reason = _CLOSE_TO_WIRE[order.close_reason]
    message.allowed_actions.extend(_actions_to_wire(allowed_actions(order)))
    set_timestamp(message.place_time, order.place_time_us)
    set_timestamp(message.update_time, order.update_time_us)
    _set_seldom(message, order)
    return message


@cache  # few sets of actions are ever allowed together
def _actions_to_wire(actions: tuple[str, ...]) -> tuple[order_pb2.OrderAction.ValueType, ...]:
    return tuple(_ACTION_TO_WIRE[action] for action in actions)


def _set_seldom(message: order_pb2.Order, order: Order) -> None:
    """The fields that most orders leave unset, and that then cost nothing."""
    erased_us = order.personal_erase_time_us
    if (order.expire_time_us, order.market_id, order.holds, order.authorized, erased_us) == _UNUSED:
        return
    message.market_id = order.market_id
    message.cancel_requested = order.cancel_requested
    if order.expire_time_us is not None:
        set_timestamp(message.expire_time, order.expire_time_us)
    if erased_us is not None:
        set_timestamp(message.personal_erase_time, erased_us)
    message.holds.extend(hold_to_wire(hold) for hold in order.holds)
    for name in ("authorized", "captured", "refunded"):
        if minor_units := getattr(order, name):
            set_money(getattr(message, name), order.currency_code, minor_units)


def order_from_wire(body: bytes) -> Order:
    """The order that `encode_order` encoded."""
    message = order_pb2.Order.FromString(body)
    return Order(
        order_id=message.order_id,
        customer_id=message.customer_id,
        store_id=message.store_id,
        currency_code=message.currency_code,
        lines=tuple(_line_from_wire(line) for line in message.lines),
        place_time_us=timestamp_from_wire(message.place_time),
        update_time_us=timestamp_from_wire(message.update_time),
        version=message.version,
        state=_STATE_FROM_WIRE[message.state],
        accepted=message.accepted,
        rejected=message.rejected,
        close_reason=_CLOSE_FROM_WIRE[message.close_reason],
        expire_time_us=timestamp_from_wire(message.expire_time) if message.HasField("expire_time") else None,
        market_id=message.market_id,
        cancel_requested=message.cancel_requested,
        holds=tuple(
            Hold(hold_id=hold.hold_id, reason_code=hold.reason_code, blocks_fills=hold.blocks_fills)
            for hold in message.holds
        ),
        authorized=message.authorized.minor_units,
        captured=message.captured.minor_units,
        refunded=message.refunded.minor_units,
        personal_erase_time_us=(
            timestamp_from_wire(message.personal_erase_time) if message.HasField("personal_erase_time") else None
        ),
    )


def hold_to_wire(hold: Hold) -> order_pb2.Hold:
    """The hold as a message."""
    return order_pb2.Hold(hold_id=hold.hold_id, reason_code=hold.reason_code, blocks_fills=hold.blocks_fills)


def _set_line(message: order_pb2.OrderLine, line: Line, currency: str) -> None:
    message.line_id = line.line_id
    message.product_id = line.product_id
    message.quantity = line.quantity
    price = message.unit_price
    price.currency_code = currency
    price.nanos = line.price_nanos
    set_money(message.amount, currency, line.amount)
    message.canceled = line.canceled
    message.leaves = line.leaves
    if line.filled or line.price_version:
        _set_fills(message, line, currency)


def _set_fills(message: order_pb2.OrderLine, line: Line, currency: str) -> None:
    """What is 0 or not set until the first fill, and then costs nothing."""
    message.filled = line.filled
    message.shipped = line.shipped
    message.delivered = line.delivered
    message.return_open = line.return_open
    message.returned = line.returned
    set_money(message.filled_amount, currency, line.filled_amount)
    message.filled_at_unit_price = line.filled_at_price
    set_money(message.filled_at_unit_price_amount, currency, line.filled_at_price_amount)
    message.price_version = line.price_version


def _line_from_wire(message: order_pb2.OrderLine) -> Line:
    return Line(
        line_id=message.line_id,
        product_id=message.product_id,
        quantity=message.quantity,
        price_nanos=message.unit_price.nanos,
        amount=message.amount.minor_units,
        filled=message.filled,
        canceled=message.canceled,
        shipped=message.shipped,
        delivered=message.delivered,
        return_open=message.return_open,
        returned=message.returned,
        filled_amount=message.filled_amount.minor_units,
        filled_at_price=message.filled_at_unit_price,
        filled_at_price_amount=message.filled_at_unit_price_amount.minor_units,
        price_version=message.price_version,
    )


def set_money(message: money_pb2.Money, currency_code: str, minor_units: int) -> None:
    """Fills a message that is part of another one, which costs half of making and copying it."""
    message.currency_code = currency_code
    message.minor_units = minor_units


def money_to_wire(currency_code: str, minor_units: int) -> money_pb2.Money:
    """The amount as a message."""
    return money_pb2.Money(currency_code=currency_code, minor_units=minor_units)
