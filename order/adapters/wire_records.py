"""Between the contract's fills, shipments and returns and the model's."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from google.protobuf.message import Message
from stateset.common.v1 import money_pb2
from stateset.order.v1 import order_pb2

from order.adapters.wire_order import money_to_wire
from order.domain.commands import LineQuantity
from order.domain.records import Fill, History, PricedFillLine, Return, ReturnState, Shipment


def history_to_bytes(history: History, currency_code: str) -> bytes:
    """As the database keeps it: the contract's message."""
    return history_to_wire(history, currency_code).SerializeToString()


def history_from_bytes(kind: str, body: bytes) -> History:
    """What `history_to_bytes` made of a record of this kind."""
    return _FROM_BYTES[kind](body)


def history_to_wire(history: History, currency_code: str) -> Message:
    """What the record stands for, as a message; fills need the order's currency."""
    match history:
        case Fill():
            return fill_to_wire(history, currency_code)
        case Shipment():
            return shipment_to_wire(history)
        case Return():
            return return_to_wire(history)


def quantities_to_wire(lines: Iterable[LineQuantity]) -> list[order_pb2.LineQuantity]:
    """Units by line as messages."""
    return [order_pb2.LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in lines]


def _quantities(lines: Iterable[order_pb2.LineQuantity]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in lines)


def fill_to_wire(fill: Fill, currency_code: str) -> order_pb2.Fill:
    """The fill as a message."""
    lines = [
        order_pb2.FillLine(
            line_id=line.line_id,
            quantity=line.quantity,
            price=money_pb2.Price(currency_code=currency_code, nanos=line.price_nanos),
            amount=money_to_wire(currency_code, line.amount),
        )
        for line in fill.lines
    ]
    return order_pb2.Fill(fill_id=fill.record_id, lines=lines, version=fill.version)


def _fill(body: bytes) -> Fill:
    message = order_pb2.Fill.FromString(body)
    lines = tuple(
        PricedFillLine(
            line_id=line.line_id,
            quantity=line.quantity,
            price_nanos=line.price.nanos,
            amount=line.amount.minor_units,
        )
        for line in message.lines
    )
    return Fill(record_id=message.fill_id, lines=lines, version=message.version)


def shipment_to_wire(shipment: Shipment) -> order_pb2.Shipment:
    """The shipment as a message."""
    return order_pb2.Shipment(
        shipment_id=shipment.record_id,
        lines=quantities_to_wire(shipment.lines),
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
        delivered=quantities_to_wire(shipment.delivered),
    )


def _shipment(body: bytes) -> Shipment:
    message = order_pb2.Shipment.FromString(body)
    return Shipment(
        record_id=message.shipment_id,
        lines=_quantities(message.lines),
        carrier=message.carrier,
        tracking_number=message.tracking_number,
        delivered=_quantities(message.delivered),
    )


_RETURN_STATES: Final = {state: order_pb2.ReturnState.Value(f"RETURN_STATE_{state}") for state in ReturnState}
_FROM_RETURN_STATES: Final = {number: state for state, number in _RETURN_STATES.items()}


def return_to_wire(returned: Return) -> order_pb2.Return:
    """The return as a message."""
    return order_pb2.Return(
        return_id=returned.record_id,
        lines=quantities_to_wire(returned.lines),
        reason_code=returned.reason_code,
        state=_RETURN_STATES[returned.state],
        received=quantities_to_wire(returned.received),
    )


def _return(body: bytes) -> Return:
    message = order_pb2.Return.FromString(body)
    return Return(
        record_id=message.return_id,
        lines=_quantities(message.lines),
        reason_code=message.reason_code,
        state=_FROM_RETURN_STATES[message.state],
        received=_quantities(message.received),
    )


_FROM_BYTES: Final[Mapping[str, Callable[[bytes], History]]] = {
    Fill.kind: _fill,
    Shipment.kind: _shipment,
    Return.kind: _return,
}
