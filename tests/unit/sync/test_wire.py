"""What the Sync Server reads out of an event's bytes, and what it leaves as it is."""

import pytest
from google.protobuf.message import DecodeError
from stateset.common.v1 import event_metadata_pb2, money_pb2
from stateset.order.v1 import order_event_pb2, order_frame_pb2, order_pb2

from infra.runtime.grpc.wire import timestamp_to_wire
from sync.adapters.wire import event_from_wire
from sync.adapters.wire_views import view_of
from sync.domain.log import OrderRow

UNKNOWN_FIELD = b"\xfa\x3f\x03new"  # number 1023: of a later contract


def order_event() -> order_event_pb2.OrderEvent:
    order = order_pb2.Order(
        order_id="o-1",
        version=3,
        state=order_pb2.ORDER_STATE_FILLED,
        customer_id="c-1",
        store_id="s-1",
        currency_code="USD",
        lines=[
            order_pb2.OrderLine(line_id=line, product_id=product, amount=money_pb2.Money(minor_units=5))
            for line, product in (("1", "p-1"), ("2", "p-2"), ("3", "p-1"))
        ],
    )
    metadata = event_metadata_pb2.EventMetadata(
        event_id="e-1",
        type="stateset.order.v1.OrderAccepted",
        log_epoch="log-1",
        record_time=timestamp_to_wire(1_700_000_000_123_456),
        group_index=1,
        group_size=2,
    )
    return order_event_pb2.OrderEvent(metadata=metadata, order_id="o-1", version=3, seq=7, order=order)


def test_an_event_is_what_its_message_says() -> None:
    message = order_event()
    event = event_from_wire(message.SerializeToString())
    assert (event.seq, event.log_epoch) == (7, "log-1")
    assert (event.record_time_us, event.ends_group) == (1_700_000_000_123_456, True)
    products = event.attributes["product_id"]
    assert sorted(products) == ["p-1", "p-2"]
    assert event.attributes == {
        "product_id": products,
        "type": "stateset.order.v1.OrderAccepted",
        "order_id": "o-1",
        "customer_id": "c-1",
        "store_id": "s-1",
        "currency_code": "USD",
    }
    body = event.order.body
    assert message.order == order_pb2.Order.FromString(body)
    assert event.order == OrderRow(
        order_id="o-1", customer_id="c-1", store_id="s-1", currency_code="USD", state="FILLED", version=3, body=body
    )


def test_an_event_inside_its_group_does_not_end_it() -> None:
    message = order_event()
    message.metadata.group_index = 0
    assert not event_from_wire(message.SerializeToString()).ends_group


def test_the_bytes_of_an_event_are_handed_on_as_they_came() -> None:
    encoded = order_event().SerializeToString() + UNKNOWN_FIELD
    event = event_from_wire(encoded)
    assert event.size == len(encoded)
    assert encoded in event.chunk
    (read,) = order_frame_pb2.EventBatch.FromString(event.chunk).events
    assert encoded == read.SerializeToString()


@pytest.mark.parametrize("name", ["type", "store_id", "currency_code"])
def test_events_that_say_the_same_hold_it_once(name: str) -> None:
    encoded = order_event().SerializeToString()
    assert event_from_wire(encoded).attributes[name] is event_from_wire(encoded).attributes[name]


def test_a_state_of_tomorrow_is_kept_by_its_number() -> None:
    message = order_event()
    message.order.state = 99  # type: ignore[assignment]
    assert event_from_wire(message.SerializeToString()).order.state == "99"


@pytest.mark.parametrize("encoded", [b"\x0a\x7f", b"\x42\x02\x0a\x7f"], ids=["in the event", "in its order"])
def test_bytes_that_end_too_early_are_refused(encoded: bytes) -> None:
    with pytest.raises(DecodeError):
        event_from_wire(encoded)


def test_a_view_has_the_fields_that_were_asked_for_and_no_other() -> None:
    view = view_of(order_pb2.Order.DESCRIPTOR, ("state", "total", "lines.unit_price.nanos", "lines.quantity"))
    assert [field.name for field in view.DESCRIPTOR.fields] == ["state", "total", "lines"]
    message = order_event().order
    read = view.FromString(message.SerializeToString())
    assert (read.state, read.total) == (order_pb2.ORDER_STATE_FILLED, b"")
    assert len(read.lines) == 3


def test_a_view_of_a_field_that_is_not_in_the_contract_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        view_of(order_pb2.Order.DESCRIPTOR, ("lines.colour",))
