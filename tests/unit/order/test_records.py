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
from order.domain.errors import RecordConflictError
from order.domain.lifecycle import record_content
from order.domain.records import own_record
from tests.harness.order_commands import ERASE, amend
from tests.harness.order_story import Story
from tests.harness.orders import place

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


def with_email(personal_hash: str) -> PlaceOrder:
    return place(3, personal_paths=("personal.email",), personal_hash=personal_hash)


def test_personal_data_is_a_part_of_its_own_and_the_rest_stays_as_it_was() -> None:
    assert record_content(with_email("ada")) == f"{record_content(with_email(''))}.ada"
    assert "ada" not in repr(with_email("ada"))
    assert repr(place(3)).endswith(", personal_paths=(), expire_time_us=None, market_id='')")


def test_an_order_with_other_personal_data_is_another_one() -> None:
    story = Story()
    order = story.carry_out(with_email("ada"))
    assert story.carry_out(with_email("ada")) is order
    for other in (with_email("bob"), place(3)):
        with pytest.raises(RecordConflictError):
            story.carry_out(other)
    assert story.order is order


def test_personal_data_is_no_longer_compared_once_it_is_erased_or_where_it_never_was() -> None:
    erased = Story()
    order = erased.carry_out(with_email("ada"), amend(5), ERASE)
    kept = erased.records[own_record("o-1")].content
    assert kept == record_content(with_email(""))
    older = Story()
    older.carry_out(with_email(""))
    for personal_hash in ("ada", "bob"):
        assert erased.carry_out(with_email(personal_hash)) is order
        older.carry_out(with_email(personal_hash))
    assert older.order is not None
    assert older.order.version == 1
    for story in (erased, older):
        with pytest.raises(RecordConflictError):
            story.carry_out(place(3))
