"""What is kept of a command so that it is known again, under whatever request id, for ever."""

import pytest

from order.domain.commands import (
    Amount,
    BustFill,
    FillLine,
    HoldOrder,
    LineQuantity,
    NewLine,
    PaymentKind,
    PlaceOrder,
    RecordDelivery,
    RecordFill,
    RecordingCommand,
    RecordPayment,
    RecordRefund,
    RecordShipment,
    ReleaseOrderHold,
    RequestReturn,
    UnitPrice,
)
from order.domain.lifecycle import record_content

UNITS = (LineQuantity(line_id="1", quantity=2),)
PAID = Amount(currency_code="USD", minor_units=398)


# A hash that changes makes every record of an earlier release another one: its repeats would be refused as conflicts. A
# command that grows a field has to leave these as they are where the field is not given.
@pytest.mark.parametrize(
    ("command", "content"),
    [
        (
            PlaceOrder(
                order_id="o-1",
                customer_id="c-1",
                store_id="s-1",
                currency_code="USD",
                lines=(NewLine("1", "p-1", 2, 1_990_000_000),),
                expected_total=None,
            ),
            "de78a189ca42cbd55f417853531e6fd9",
        ),
        (
            RecordFill(
                order_id="o-1",
                record_id="r-1",
                lines=(
                    FillLine(line_id="1", quantity=1, price=UnitPrice(currency_code="USD", nanos=1_980_000_000)),
                    FillLine(line_id="2", quantity=1, price=None),
                ),
            ),
            "8085ced6580f883146ce2c7b602bcd5a",
        ),
        (BustFill(order_id="o-1", record_id="r-1"), "f77ddc30277ff7b5f0f7af0b67949957"),
        (
            HoldOrder(order_id="o-1", record_id="r-1", reason_code="FRAUD", blocks_fills=True),
            "ef12f84591fc5851ef222e13df262aad",
        ),
        (ReleaseOrderHold(order_id="o-1", record_id="r-1"), "9b6e52cd17f9a65cf9035d2801807d9c"),
        (
            RecordShipment(order_id="o-1", record_id="r-1", lines=UNITS, carrier="ups", tracking_number="1Z"),
            "4649866f1b03cdcebaecc46d68813391",
        ),
        (
            RecordDelivery(order_id="o-1", record_id="r-1", shipment_id="s-1", lines=UNITS),
            "c253354c29fa920016d2b2ed9f21920a",
        ),
        (
            RequestReturn(order_id="o-1", record_id="r-1", lines=UNITS, reason_code="DAMAGED"),
            "6ec6fabf65c54042c0b13bfc0cc05035",
        ),
        (
            RecordPayment(order_id="o-1", record_id="r-1", payment=PaymentKind.CAPTURE, amount=PAID),
            "cc5259b7d5eb8b4471ca901d8675310d",
        ),
        (RecordRefund(order_id="o-1", record_id="r-1", amount=PAID), "cb7d4243daaea341e37ef0d34568ffb7"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_is_known_again_by_later_releases(command: RecordingCommand, content: str) -> None:
    assert record_content(command) == content
