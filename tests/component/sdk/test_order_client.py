"""What the client repeats, what it raises, and what it never changes."""

import time
from collections.abc import AsyncIterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode
from stateset.order.v1.order_service_pb2 import ListOrdersRequest, PlaceOrderRequest
from stateset_client import InvalidRequestError, OrderClient, OverloadedError, UnavailableError, Violation

from tests.harness.fake_order_service import Answer, FakeOrder, open_fake_order

GONE = Answer(StatusCode.UNAVAILABLE)


@pytest.fixture
async def service() -> AsyncIterator[FakeOrder]:
    async with open_fake_order() as fake:
        yield fake


async def test_a_command_is_repeated_under_one_request_id_made_before_the_first_try(service: FakeOrder) -> None:
    service.refusals.extend([GONE, GONE])
    request = PlaceOrderRequest(order_id="o-7")
    async with OrderClient.connect(service.address) as client:
        reply = await client.place_order(request)
    assert reply.order.order_id == "o-7"
    assert len(service.requests) == 3
    (request_id,) = {each.request_id for each in service.requests}
    assert request_id[14] == "7"
    assert request.request_id == ""


async def test_the_callers_request_id_is_kept(service: FakeOrder) -> None:
    async with OrderClient.connect(service.address) as client:
        await client.place_order(PlaceOrderRequest(request_id="my-own-id"))
    assert [each.request_id for each in service.requests] == ["my-own-id"]


async def test_a_refusal_that_says_when_is_waited_for(service: FakeOrder) -> None:
    delay = RetryInfo(retry_delay=Duration(nanos=200_000_000))
    service.refusals.append(Answer(StatusCode.RESOURCE_EXHAUSTED, ErrorInfo(reason="OVERLOADED"), delay))
    started = time.monotonic()
    async with OrderClient.connect(service.address) as client:
        await client.place_order(PlaceOrderRequest())
    assert time.monotonic() - started >= 0.2


async def test_a_wait_that_the_budget_does_not_allow_is_not_begun(service: FakeOrder) -> None:
    delay = RetryInfo(retry_delay=Duration(seconds=30))
    service.refusals.append(Answer(StatusCode.RESOURCE_EXHAUSTED, ErrorInfo(reason="OVERLOADED"), delay))
    async with OrderClient.connect(service.address) as client:
        with pytest.raises(OverloadedError) as caught:
            await client.place_order(PlaceOrderRequest(), timeout_seconds=1)
    assert caught.value.retry_after_seconds == 30


async def test_a_final_refusal_is_raised_at_once_with_all_that_it_says(service: FakeOrder) -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="lines", description="at least one")])
    info = ErrorInfo(reason="INVALID_REQUEST", metadata={"a": "b"})
    service.refusals.append(Answer(StatusCode.INVALID_ARGUMENT, info, bad))
    async with OrderClient.connect(service.address) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.place_order(PlaceOrderRequest())
    error = caught.value
    assert (error.code, error.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert ({"a": "b"}, (Violation("lines", "at least one"),)) == (error.metadata, error.violations)
    assert len(service.requests) == 1


async def test_an_answer_of_tomorrow_is_still_a_typed_error(service: FakeOrder) -> None:
    service.refusals.append(Answer(StatusCode.RESOURCE_EXHAUSTED, ErrorInfo(reason="NEVER_HEARD_OF")))
    async with OrderClient.connect(service.address) as client:
        with pytest.raises(OverloadedError, match="NEVER_HEARD_OF"):
            await client.place_order(PlaceOrderRequest())


async def test_nobody_there_is_told_within_the_budget() -> None:
    started = time.monotonic()
    async with OrderClient.connect("127.0.0.1:1") as client:
        with pytest.raises(UnavailableError):
            await client.place_order(PlaceOrderRequest(), timeout_seconds=0.5)
    assert time.monotonic() - started < 8  # a call without a budget is given ten seconds


async def test_all_orders_are_listed_page_by_page(service: FakeOrder) -> None:
    async with OrderClient.connect(service.address) as client:
        listed = [order.order_id async for order in client.list_all_orders(ListOrdersRequest())]
    assert [f"o-{number}" for number in range(120)] == listed
