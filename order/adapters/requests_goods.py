"""Requests about an order's goods: fills, shipments, deliveries, returns."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stateset.order.v1 import fulfillment_service_pb2, order_pb2, order_service_pb2, return_service_pb2

from order.adapters.checks import Checks
from order.domain.commands import (
    ApproveReturn,
    BustFill,
    Command,
    Disposition,
    FillLine,
    ReceiveReturn,
    RecordDelivery,
    RecordFill,
    RecordShipment,
    RejectReturn,
    RequestReturn,
    UnitPrice,
)

_DISPOSITIONS: Final = {
    order_pb2.ReturnDisposition.Value(f"RETURN_DISPOSITION_{disposition}"): disposition for disposition in Disposition
}


def _fill(request: order_service_pb2.RecordFillRequest, order_id: str, checks: Checks) -> RecordFill:
    fill = request.fill
    checks.identifier("fill.fill_id", fill.fill_id)
    lines = []
    for index, line in enumerate(checks.lines("fill.lines", fill.lines)):
        path = f"fill.lines[{index}].price"
        price = None
        if line.HasField("price"):
            price = UnitPrice(currency_code=line.price.currency_code, nanos=checks.price(path, line.price))
            checks.cost(path, line.quantity, price.nanos, price.currency_code)
        lines.append(FillLine(line_id=line.line_id, quantity=line.quantity, price=price))
    return RecordFill(order_id=order_id, record_id=fill.fill_id, lines=tuple(lines))


def _ship(request: fulfillment_service_pb2.RecordShipmentRequest, order_id: str, checks: Checks) -> RecordShipment:
    shipment = request.shipment
    checks.identifier("shipment.shipment_id", shipment.shipment_id)
    return RecordShipment(
        order_id=order_id,
        record_id=shipment.shipment_id,
        lines=checks.quantities("shipment.lines", shipment.lines, required=True),
        carrier=checks.text("shipment.carrier", shipment.carrier),
        tracking_number=checks.text("shipment.tracking_number", shipment.tracking_number),
    )


def _deliver(request: fulfillment_service_pb2.RecordDeliveryRequest, order_id: str, checks: Checks) -> RecordDelivery:
    delivery = request.delivery
    checks.identifier("delivery.delivery_id", delivery.delivery_id)
    checks.identifier("delivery.shipment_id", delivery.shipment_id)
    return RecordDelivery(
        order_id=order_id,
        record_id=delivery.delivery_id,
        shipment_id=delivery.shipment_id,
        lines=checks.quantities("delivery.lines", delivery.lines, required=True),
    )


def _bust(request: order_service_pb2.BustFillRequest, order_id: str, checks: Checks) -> BustFill:
    return BustFill(order_id=order_id, record_id=checks.identifier("fill_id", request.fill_id))


def _request_return(request: return_service_pb2.RequestReturnRequest, order_id: str, checks: Checks) -> RequestReturn:
    asked = request.order_return
    return RequestReturn(
        order_id=order_id,
        record_id=checks.identifier("order_return.return_id", asked.return_id),
        lines=checks.quantities("order_return.lines", asked.lines, required=True),
        reason_code=checks.identifier("order_return.reason_code", asked.reason_code),
    )


def _approve_return(request: return_service_pb2.ApproveReturnRequest, order_id: str, checks: Checks) -> ApproveReturn:
    return ApproveReturn(order_id=order_id, return_id=checks.identifier("return_id", request.return_id))


def _reject_return(request: return_service_pb2.RejectReturnRequest, order_id: str, checks: Checks) -> RejectReturn:
    return RejectReturn(
        order_id=order_id,
        return_id=checks.identifier("return_id", request.return_id),
        reason_code=checks.identifier("reason_code", request.reason_code),
    )


def _receive_return(request: return_service_pb2.ReceiveReturnRequest, order_id: str, checks: Checks) -> ReceiveReturn:
    known = request.disposition in _DISPOSITIONS
    checks.require(known, "disposition", "must be RESTOCK, WRITE_OFF or DISMISS")
    return ReceiveReturn(
        order_id=order_id,
        return_id=checks.identifier("return_id", request.return_id),
        lines=checks.quantities("lines", request.lines),
        disposition=_DISPOSITIONS.get(request.disposition, Disposition.RESTOCK),
    )


GOODS_COMMANDS: Final[Mapping[type[Any], Callable[[Any, str, Checks], Command]]] = {
    order_service_pb2.RecordFillRequest: _fill,
    order_service_pb2.BustFillRequest: _bust,
    fulfillment_service_pb2.RecordShipmentRequest: _ship,
    fulfillment_service_pb2.RecordDeliveryRequest: _deliver,
    return_service_pb2.RequestReturnRequest: _request_return,
    return_service_pb2.ApproveReturnRequest: _approve_return,
    return_service_pb2.RejectReturnRequest: _reject_return,
    return_service_pb2.ReceiveReturnRequest: _receive_return,
}
