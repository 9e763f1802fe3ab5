"""How the client places very many orders: what it sends again, and what it hands out."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc import StatusCode
from stateset.order.v1.order_service_pb2 import PlaceOrderRequest
from stateset_client import InvalidRequestError, OrderClient, StateSetError, UnavailableError

from tests.harness.fake_order_service import Answer, FakeOrder, open_fake_order

GONE = Answer(StatusCode.UNAVAILABLE)
SOON = RetryInfo(retry_delay=Duration(nanos=1_000_000))


@pytest.fixture
async def service() -> AsyncIterator[FakeOrder]:
    async with open_fake_order() as fake:
        yield fake


def orders(count: int) -> Iterator[PlaceOrderRequest]:
    return (PlaceOrderRequest(request_id=f"request-{number}") for number in range(count))


async def test_answers_come_in_the_sequence_of_the_orders_whatever_the_streams_do(service: FakeOrder) -> None:
    service.refusals.append(GONE)
    async with OrderClient.connect(service.address) as client:
        told = [each async for each in client.ingest_orders(orders(2_500))]
    assert [each.order_id for each in told] == [f"order-request-{number}" for number in range(2_500)]
    assert len(service.streams) == 4
    assert {each.error for each in told} == {None}


async def test_a_stream_that_is_lost_is_sent_again_under_the_same_ids(service: FakeOrder) -> None:
    service.refusals.append(GONE)
    async with OrderClient.connect(service.address) as client:
        told = [each async for each in client.ingest_orders(PlaceOrderRequest() for _ in range(3))]
    first, second = service.streams
    assert first == second == [each.request_id for each in told]
    assert len(set(first)) == 3


async def test_orders_that_met_a_passing_refusal_are_sent_again_alone(service: FakeOrder) -> None:
    overloaded = Answer(StatusCode.RESOURCE_EXHAUSTED, ErrorInfo(reason="OVERLOADED"), SOON)
    service.refusals_of = {"request-1": overloaded, "request-3": GONE}
    async with OrderClient.connect(service.address) as client:
        told = [each async for each in client.ingest_orders(orders(5))]
    assert service.streams[1:] == [["request-1", "request-3"]]
    assert [each.order_id for each in told] == [f"order-request-{number}" for number in range(5)]


async def test_a_refused_order_has_its_error_and_stops_no_other(service: FakeOrder) -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="lines", description="at least one")])
    service.refusals_of = {"request-1": Answer(StatusCode.INVALID_ARGUMENT, ErrorInfo(reason="INVALID_REQUEST"), bad)}
    async with OrderClient.connect(service.address) as client:
        told = [each async for each in client.ingest_orders(orders(3))]
    assert [type(each.error) for each in told] == [type(None), InvalidRequestError, type(None)]
    assert isinstance(told[1].error, StateSetError)
    assert [each.field for each in told[1].error.violations] == ["lines"]
    assert told[1].order_id == ""
    assert len(service.streams) == 1


async def test_orders_are_taken_as_they_are_needed(service: FakeOrder) -> None:
    taken = 0

    def counted() -> Iterator[PlaceOrderRequest]:
        nonlocal taken
        for order in orders(20_000):
            taken += 1
            yield order

    async with OrderClient.connect(service.address) as client, aclosing(client.ingest_orders(counted())) as answers:
        await anext(answers)
        assert taken == 4_000


async def test_a_budget_that_is_spent_is_told(service: FakeOrder) -> None:
    service.refusals.extend([GONE] * 50)
    async with OrderClient.connect(service.address) as client:
        with pytest.raises(UnavailableError):
            [each async for each in client.ingest_orders(orders(3), timeout_seconds=0.3)]
