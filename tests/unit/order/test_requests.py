"""What is kept of a request, so that a repeat can be told from another one."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from stateset.common.v1.money_pb2 import Price
from stateset.order.v1 import fulfillment_service_pb2, order_pb2, order_service_pb2, return_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import VIOLATIONS_MAX, InvalidRequestError, Violation
from order.adapters.requests import differing_fields, submission
from tests.harness.orders import place_request

MANY = 20_000


def content(request: Any) -> bytes:  # noqa: ANN401 - any command's request
    context: Any = None
    call = Call("local", "", float("inf"), True, context)  # noqa: FBT003 - its fields have names
    return submission("PlaceOrder", request, call).content


def refused_fields(request: Any) -> list[str]:  # noqa: ANN401 - as above
    request.request_id, request.order_id = "request-a", "o-1"
    with pytest.raises(InvalidRequestError) as refused:
        content(request)
    return [violation.field for violation in refused.value.violations]


def with_email(email: str) -> order_service_pb2.PlaceOrderRequest:
    request = place_request(3, order_id="o-1", request_id="request-a")
    request.personal.email = email
    return request


def test_personal_data_is_compared_and_not_kept() -> None:
    first, other = (content(with_email(email)) for email in ("ada@example.org", "bob@example.org"))
    assert b"example" not in first
    assert differing_fields("PlaceOrder", first, other) == ["personal"]
    assert content(with_email("ada@example.org")) == first


def test_a_repeat_that_only_checks_says_the_same() -> None:
    request = place_request(3, order_id="o-1", request_id="request-a")
    first = content(request)
    request.validate_only = True
    assert content(request) != first
    assert differing_fields("PlaceOrder", first, content(request)) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (order_service_pb2.AmendOrderRequest(lines=[order_service_pb2.LineAmendment()] * MANY), "lines"),
        (order_service_pb2.CancelOrderRequest(lines=[order_pb2.LineQuantity()] * MANY), "lines"),
        (
            order_service_pb2.RecordFillRequest(
                fill=order_pb2.Fill(fill_id="f-1", lines=[order_pb2.FillLine(price=Price(nanos=-1))] * MANY)
            ),
            "fill.lines",
        ),
        (
            fulfillment_service_pb2.RecordShipmentRequest(
                shipment=order_pb2.Shipment(shipment_id="s-1", lines=[order_pb2.LineQuantity()] * MANY)
            ),
            "shipment.lines",
        ),
        (
            return_service_pb2.ReceiveReturnRequest(
                return_id="r-1",
                disposition=order_pb2.RETURN_DISPOSITION_RESTOCK,
                lines=[order_pb2.LineQuantity()] * MANY,
            ),
            "lines",
        ),
    ],
)
def test_lines_that_are_too_many_are_refused_unread(request_: Any, field: str) -> None:  # noqa: ANN401 - as above
    assert refused_fields(request_) == [field]


def test_too_many_lines_of_a_new_order_are_refused_unread() -> None:
    request = place_request(3)
    request.lines.extend([order_service_pb2.NewOrderLine()] * MANY)
    assert set(refused_fields(request)) == {"lines"}


@pytest.mark.parametrize(
    "request_",
    [
        order_service_pb2.PlaceOrderRequest(lines=[order_service_pb2.NewOrderLine()] * 500),
        order_service_pb2.AmendOrderRequest(update_mask=FieldMask(paths=[f"path-{n}" for n in range(MANY)])),
    ],
)
def test_a_request_is_read_until_as_much_is_wrong_with_it_as_is_told(
    request_: Any,  # noqa: ANN401 - as above
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[Violation] = []

    def note(*said: str) -> Violation:
        noted.append(Violation(*said))
        return noted[-1]

    monkeypatch.setattr("order.adapters.checks.Violation", note)
    assert refused_fields(request_)
    assert len(noted) == VIOLATIONS_MAX


def test_each_line_that_is_named_again_is_told() -> None:
    lines = [order_pb2.LineQuantity(line_id=line_id, quantity=1) for line_id in "abacab"]
    fields = refused_fields(order_service_pb2.CancelOrderRequest(lines=lines))
    assert fields == ["lines[2].line_id", "lines[4].line_id", "lines[5].line_id"]
