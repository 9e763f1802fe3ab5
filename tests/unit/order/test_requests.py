"""What is kept of a request, so that a repeat can be told from another one."""

from typing import Any

from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.call import Call
from order.adapters.requests import differing_fields, submission
from tests.harness.orders import place_request


def content(request: order_service_pb2.PlaceOrderRequest) -> bytes:
    context: Any = None
    call = Call("local", "", float("inf"), True, context)  # noqa: FBT003 - its fields have names
    return submission("PlaceOrder", request, call).content


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
