"""What becomes of a basket: the commands of its order's life. The same basket always gives the same requests."""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.money_pb2 import Money, Price
from stateset.order.v1.fulfillment_service_pb2 import RecordDeliveryRequest, RecordShipmentRequest
from stateset.order.v1.order_pb2 import Delivery, Fill, FillLine, LineQuantity, Shipment
from stateset.order.v1.order_service_pb2 import (
    AcceptOrderRequest,
    CancelOrderRequest,
    NewOrderLine,
    PlaceOrderRequest,
    RecordFillRequest,
)

from consumers.cli.demo.baskets import Basket, Line

CURRENCY: Final = "USD"
_NANOS_PER_CENT: Final = 10_000_000

Command = (
    PlaceOrderRequest
    | AcceptOrderRequest
    | CancelOrderRequest
    | RecordFillRequest
    | RecordShipmentRequest
    | RecordDeliveryRequest
)


def commands(basket: Basket) -> Iterator[Command]:
    """Place, accept, then either cancel or fill, ship and deliver everything.

    The request ids come from the basket and the step, so that a replay of the replay is answered and changes nothing.
    """
    order_id = f"basket-{basket.basket_id}"
    occur_time = Timestamp()
    occur_time.FromMicroseconds(basket.time_us)

    def header(step: str) -> dict[str, Any]:
        return {"request_id": f"{order_id}-{step}", "order_id": order_id, "occur_time": occur_time}

    yield PlaceOrderRequest(
        **header("place"),
        customer_id=basket.customer_id,
        store_id=basket.store_id,
        currency_code=CURRENCY,
        lines=[_new_line(line) for line in basket.lines],
        expected_total=Money(currency_code=CURRENCY, minor_units=sum(line.cents for line in basket.lines)),
    )
    yield AcceptOrderRequest(**header("accept"))
    if basket.is_canceled:
        yield CancelOrderRequest(**header("cancel"), reason="changed their mind")
        return
    everything = [LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in basket.lines]
    filled = [FillLine(line_id=line.line_id, quantity=line.quantity) for line in basket.lines]
    yield RecordFillRequest(**header("fill"), fill=Fill(fill_id="1", lines=filled))
    yield RecordShipmentRequest(**header("ship"), shipment=Shipment(shipment_id="1", lines=everything))
    yield RecordDeliveryRequest(
        **header("deliver"), delivery=Delivery(delivery_id="1", shipment_id="1", lines=everything)
    )


def unit_price_nanos(cents: int, quantity: int) -> int:
    """The price of one unit, to the nearest billionth: `quantity` of them, rounded to cents, cost `cents` again."""
    return (2 * cents * _NANOS_PER_CENT + quantity) // (2 * quantity)


def _new_line(line: Line) -> NewOrderLine:
    nanos = unit_price_nanos(line.cents, line.quantity)
    return NewOrderLine(
        line_id=line.line_id,
        product_id=line.product_id,
        quantity=line.quantity,
        unit_price=Price(currency_code=CURRENCY, nanos=nanos),
    )
