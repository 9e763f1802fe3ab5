"""Goods on their way, and the holds that keep them here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from order.domain.changes import Change, OrderDelivered, OrderHeld, OrderHoldReleased, OrderShipped
from order.domain.commands import HoldOrder, RecordDelivery, RecordShipment, ReleaseOrderHold
from order.domain.errors import HoldReleasedError, OverdeliveryError, OvershipError, RecordNotFoundError
from order.domain.lines import Effect, Given, check_quantities, moved
from order.domain.order import Hold, Order
from order.domain.records import Shipment, added, left


def _ship(order: Order, command: RecordShipment, _given: Given) -> list[Change]:
    check_quantities(order, command.lines, lambda line: line.filled - line.shipped, OvershipError, "shipment.lines")
    shipment = Shipment(
        record_id=command.record_id,
        lines=command.lines,
        carrier=command.carrier,
        tracking_number=command.tracking_number,
    )
    return [OrderShipped(history=shipment)]


def _deliver(order: Order, command: RecordDelivery, given: Given) -> list[Change]:
    record = given.records.get((order.order_id, Shipment.kind, command.shipment_id))
    if record is None or not isinstance(record.history, Shipment):
        raise RecordNotFoundError(order.order_id, Shipment.kind, command.shipment_id)
    shipment = record.history
    under_way = left(shipment.lines, shipment.delivered)
    check_quantities(
        order, command.lines, lambda line: under_way.get(line.line_id, 0), OverdeliveryError, "delivery.lines"
    )
    return [
        OrderDelivered(command=command, history=replace(shipment, delivered=added(shipment.delivered, command.lines)))
    ]


def _hold(_order: Order, command: HoldOrder, _given: Given) -> list[Change]:
    return [OrderHeld(command=command)]


def check_in_force(order: Order, command: HoldOrder) -> None:
    """Lets a repeat pass while its hold is on.

    Raises:
        HoldReleasedError: It was released.
    """
    if not _is_in_force(order, command.record_id):
        raise HoldReleasedError(order, command.record_id)


def _is_in_force(order: Order, hold_id: str) -> bool:
    return any(hold.hold_id == hold_id for hold in order.holds)


def _release(order: Order, command: ReleaseOrderHold, _given: Given) -> list[Change]:
    if not _is_in_force(order, command.record_id):
        raise RecordNotFoundError(order.order_id, HoldOrder.record_kind, command.record_id)
    return [OrderHoldReleased(hold_id=command.record_id)]


def _shipped(order: Order, change: OrderShipped) -> Effect:
    return Effect(lines=moved(order, change.history.lines, to="shipped"))


def _delivered(order: Order, change: OrderDelivered) -> Effect:
    return Effect(lines=moved(order, change.command.lines, to="delivered"))


def _held(order: Order, change: OrderHeld) -> Effect:
    command = change.command
    hold = Hold(hold_id=command.record_id, reason_code=command.reason_code, blocks_fills=command.blocks_fills)
    return Effect(holds=(*order.holds, hold))


def _released(order: Order, change: OrderHoldReleased) -> Effect:
    return Effect(holds=tuple(hold for hold in order.holds if hold.hold_id != change.hold_id))


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    RecordShipment: _ship,
    RecordDelivery: _deliver,
    HoldOrder: _hold,
    ReleaseOrderHold: _release,
}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    OrderShipped: _shipped,
    OrderDelivered: _delivered,
    OrderHeld: _held,
    OrderHoldReleased: _released,
}
